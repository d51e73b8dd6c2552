"""Causes of errors, with their kinds, descriptions and recommended actions.

The definitions are those of ``docs/methods/verdict.md``. Functions take causes as a plain tuple, so that a plug-in can
add one with :func:`with_causes`. Interventions name the cause that they test.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from whywrong.core.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """A cause of an error.

    Attributes:
        name: Name of the cause in tables, one word.
        kinds: Subtypes of the cause.
        sentence: Meaning of the cause, with the fields ``{label}`` and ``{predicted}``.
        action: Recommended action, as an instruction.
        planter: Name of the cause in :mod:`whywrong.planting`; empty if it cannot be planted.
    """

    name: str
    kinds: tuple[str, ...]
    sentence: str
    action: str
    planter: str = ""


CAUSES: tuple[Cause, ...] = (
    Cause(
        name="label",
        kinds=("wrong", "near", "two objects", "overlap"),
        sentence="The label {label} is wrong, or {predicted} is right as well.",
        action="Check the labels of these images and correct them.",
        planter="label",
    ),
    Cause(
        name="corruption",
        kinds=("noise", "blur", "weather", "digital", "tone"),
        sentence="Damage to the image makes {label} hard to recognise.",
        action="Restore damaged images before classification, or train with this damage.",
        planter="corruption",
    ),
    Cause(
        name="adversarial",
        kinds=("norm ball", "patch"),
        sentence="A perturbation made to fool a model turns {label} into {predicted}.",
        action="Take a vote over slightly changed copies, abstain, or use adversarial training.",
        planter="adversarial",
    ),
    Cause(
        name="spurious",
        kinds=("recurring mark", "background", "co-occurring object"),
        sentence="Something other than the object causes the prediction {predicted}, in other images as well.",
        action="Cover the cue, and randomise it in training.",
        planter="spurious",
    ),
    Cause(
        name="occluded",
        kinds=("covered", "cut", "small"),
        sentence="The object of class {label} is covered, cut off or too small.",
        action="Crop around the object, or collect more such images.",
        planter="occluded",
    ),
    Cause(
        name="confusion",
        kinds=("alike classes",),
        sentence="The model does not tell {label} and {predicted} apart.",
        action="Collect more images of both classes, raise the resolution, or merge the classes.",
        planter="confusion",
    ),
    Cause(
        name="shift",
        kinds=("unlike the reference",),
        sentence="The image is unlike the correctly classified images.",
        action="Collect training images like these, or abstain on them.",
        planter="shift",
    ),
)
ORDINARY = "ordinary"
"""Class of the combiner for errors of which none of the causes shows; the verdict is then undetermined."""

CLASSES: tuple[str, ...] = (*(cause.name for cause in CAUSES), ORDINARY)


def with_causes(added: Sequence[Cause] = ()) -> tuple[Cause, ...]:
    """Return the built-in causes and those of plug-ins.

    Raises:
        InputError: A name is already used, or a cause has no sentence or action.
    """
    names = set(CLASSES)
    for cause in added:
        if cause.name in names:
            raise InputError(f"the cause {cause.name!r} is already defined; choose another name")
        if not cause.sentence or not cause.action:
            raise InputError(f"the cause {cause.name!r} needs a sentence and an action")
        names.add(cause.name)
    return (*CAUSES, *added)


def cause_named(name: str, causes: Sequence[Cause] = CAUSES) -> Cause:
    """Find a cause by its name.

    Raises:
        InputError: No cause has this name.
    """
    for cause in causes:
        if cause.name == name:
            return cause
    raise InputError(f"no cause is named {name!r}; causes are {', '.join(cause.name for cause in causes)}")
