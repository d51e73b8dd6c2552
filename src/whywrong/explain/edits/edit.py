"""An edit of a batch of images, known by its name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

Family = Literal["tiny", "smooth", "geometric", "tone", "sharpen", "crop"]
Apply = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Edit:
    """One deterministic change of a batch of images.

    Attributes:
        name: Name of the edit, as in ``jpeg 85``.
        family: Edits of one family ask the same question of the model.
        apply: Maps images (B, C, H, W) float32 in [0, 1] and keys (B,) int64 to images of the same shape, in [0, 1].
            An image's result depends on the image and its key alone.
        colour: Whether it only changes images of 3 channels, and returns others as they are.
    """

    name: str
    family: Family
    apply: Apply
    colour: bool = False


def unkeyed(function: Callable[[Tensor], Tensor]) -> Apply:
    """Make an edit's function of one that draws nothing."""

    def apply(x: Tensor, keys: Tensor) -> Tensor:
        del keys
        return function(x)

    return apply
