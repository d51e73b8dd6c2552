"""A sign, one number measured on a misclassified image, and where it is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from whywrong.core.access import Access

Kind = Literal["quantity", "logit", "share"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """A sign and how it is compared between images.

    Attributes:
        name: Name of its column, as in ``noise_level``.
        doc: Meaning and unit.
        group: Group of signs of the same origin, as in ``pixels_global``.
        stage: Stage that computes it, one of :data:`STAGES`.
        kind: ``quantity`` is compared by its rank among reference images; ``logit`` is a difference of logits, which is
            divided by the spread of the logits first; ``share`` lies in 0 to 1 and is compared as it is.
        access: Least access to the model; ``LABELS`` for signs of the pixels.
        high: Words for an unusually high value; empty if it says nothing by itself.
        low: Words for an unusually low value.
        colour: Whether it needs images of 3 channels.
        least_side: Least number of pixels a side.
        least_classes: Least number of classes.
    """

    name: str
    doc: str
    group: str
    stage: str
    kind: Kind = "quantity"
    access: Access = Access.LABELS
    high: str = ""
    low: str = ""
    colour: bool = False
    least_side: int = 1
    least_classes: int = 2


STAGES: tuple[str, ...] = ("pixels", "scores", "survival", "gradient", "crops", "windows")


def absent(sign: Sign, access: Access, shape: tuple[int, int, int], classes: int | None) -> str:
    """Say why a sign is not known for a model and its images.

    Args:
        sign: One of :data:`whywrong.explain.signs.SIGNS`.
        access: What the classifier grants.
        shape: (C, H, W) of the images.
        classes: Number of classes; None if unknown.

    Returns:
        The reason; empty if the sign can be measured.
    """
    channels, side = shape[0], min(shape[1:])
    if access < sign.access:
        return f"needs access to {sign.access.name}, this classifier grants {access.name}"
    if sign.colour and channels != 3:
        return f"needs images of 3 channels, these have {channels}"
    if side < sign.least_side:
        return f"needs images of at least {sign.least_side} pixels a side, these have {side}"
    if classes is not None and classes < sign.least_classes:
        return f"needs a model of at least {sign.least_classes} classes, this one has {classes}"
    return ""
