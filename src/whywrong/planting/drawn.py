"""Causes that only drawn pictures can have: near-twins, styles never trained on, cues in the scene."""

from __future__ import annotations

from functools import partial

import torch

from whywrong.data.planted import CUES, NAMES, STYLES, TWINS
from whywrong.planting.subjects import Kind, Proposal, Subjects, redraw

_EXTENTS = (0.5, 0.4, 0.3, 0.2, 0.1)
_WITH_PART = torch.tensor([NAMES.index(whole) for whole, _ in TWINS])
_WITHOUT = torch.tensor([NAMES.index(less) for _, less in TWINS])


def morph(subjects: Subjects, level: int) -> Proposal:
    """The part that tells an object from its twin grows smaller: a mug with half a handle, still a mug.

    Only mug and chair have it; the wrong class must be the twin.
    """
    assert subjects.scene is not None
    is_whole = subjects.y[:, None] == _WITH_PART
    twin = torch.where(is_whole.any(1), _WITHOUT[is_whole.long().argmax(1)], subjects.y)
    extent = torch.where(is_whole.any(1), _EXTENTS[level - 1], subjects.scene.extent)
    return redraw(
        subjects, subjects.scene.but(extent=extent), must=twin, strength=f"{_EXTENTS[level - 1]:.0%} of the part left"
    )


def style(name: str, subjects: Subjects, level: int) -> Proposal:
    """The same scene in a style that no model was trained on."""
    assert subjects.scene is not None
    return redraw(subjects, subjects.scene.but(style=torch.full_like(subjects.y, STYLES.index(name))))


def cue(name: str, subjects: Subjects, level: int) -> Proposal:
    """A cue that is not the object, as a model may have learnt to follow it."""
    assert subjects.scene is not None
    return redraw(subjects, subjects.scene.but(cue=torch.full_like(subjects.y, CUES.index(name))))


KINDS = (
    Kind("confusion", "morph", morph, drawn=True),
    *(Kind("shift", name, partial(style, name), graded=False, drawn=True) for name in STYLES[1:]),
    *(Kind("spurious", name, partial(cue, name), graded=False, drawn=True) for name in CUES),
)
