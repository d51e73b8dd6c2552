"""Interventions by name, with the cause that each of them takes away."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from whywrong.core.access import Access

Direction = Literal["remove", "give"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Intervention:
    """A fixed set of edits, fixed before any error is seen.

    Attributes:
        name: Name of the test; with ``remove``, its column in the results of
            :func:`whywrong.explain.interventions.interventions`.
        cause: Cause that it takes away or gives; empty for edits that no cause predicts to help, which are a control.
        edits: Names of its edits; with ``give``, what is done to the other images.
        direction: ``remove`` takes the cause away from the error; ``give`` gives it to other images.
        primary: Whether it decides on its cause. Of the restorations, the one whose damage is diagnosed decides.
        access: Least access that it needs.
        forwards: Forward passes per error.
        words: Sentence on its result, with ``{label}``, ``{predicted}``, ``{restored}`` and ``{edits}``.
    """

    name: str
    cause: str
    edits: tuple[str, ...]
    direction: Direction = "remove"
    primary: bool = False
    access: Access = Access.LABELS
    forwards: int
    words: str


def _remove(name: str, cause: str, edits: tuple[str, ...], what: str, *, primary: bool = False) -> Intervention:
    words = f"{what} restores {{label}} in {{restored}} of {{edits}} tries"
    return Intervention(name=name, cause=cause, edits=edits, primary=primary, forwards=len(edits), words=words)


NOISES = tuple(f"noise {levels}/255 {draw}" for levels in (2, 6, 16) for draw in "ab")
SHIFTS = ("shift right", "shift down", "shift left", "shift up")
INTERVENTIONS: tuple[Intervention, ...] = (
    _remove("denoise", "corruption", ("denoise", "median 3", "tv 0.06", "tv 0.15"), "Denoising", primary=True),
    _remove("despeckle", "corruption", ("despeckle", "median 3"), "Removing odd pixels", primary=True),
    _remove("deblur", "corruption", ("deblur", "unsharp"), "Sharpening", primary=True),
    _remove(
        "decompress", "corruption", ("deblock", "restore chroma", "tv 0.06"), "Undoing the compression", primary=True
    ),
    _remove("stretch", "corruption", ("stretch", "unsharp"), "Raising the contrast", primary=True),
    _remove("brighten", "corruption", ("gamma to 0.45", "gamma 0.7"), "Brightening", primary=True),
    _remove("darken", "corruption", ("gamma to 0.45", "gamma 1.4"), "Darkening", primary=True),
    _remove("saturate", "corruption", ("saturation 1.6",), "Strengthening the colours", primary=True),
    _remove("desaturate", "corruption", ("saturation 0.6",), "Weakening the colours", primary=True),
    _remove(
        "disturb",
        "adversarial",
        ("jpeg 85", "jpeg 60", "tv 0.06", "median 3", "flip", *SHIFTS),
        "Slight compression, smoothing, mirroring or moving",
        primary=True,
    ),
    _remove(
        "small_changes",
        "adversarial",
        (*NOISES, "jpeg 85", "jpeg 60", "tv 0.06", "tv 0.15"),
        "Slight noise, compression or smoothing",
    ),
    _remove("zoom", "occluded", ("zoom 0.7", "zoom 0.5", "zoom 0.35", "zoom 0.25"), "Enlarging the middle"),
    _remove("neutral", "", ("flip", *SHIFTS), "Mirroring or moving"),
)
LADDER = "small_changes"  # its edits are in the order of their strength
BY_NAME: Mapping[str, Intervention] = {test.name: test for test in INTERVENTIONS}
