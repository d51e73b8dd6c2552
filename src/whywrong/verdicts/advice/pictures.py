"""Images with the data that actions need."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Pictures:
    """Misclassified or correctly classified images.

    Attributes:
        x: (N, C, H, W), float32, in [0, 1].
        y: (N,) int64, labels.
        predicted: (N,) int64, predicted classes.
        sources: N source names; images of one source are never in both halves.
        keys: (N,) int64, seed of random choices.
        boxes: (N, 4) float32, left, top, width, height of a suspected mark as shares of the image; NaN if unknown.
        level: (N,) float32, how strongly the image shows what its group shares, such as the strength of a damage or the
            distance from all correct images; NaN if unknown.
        whole: (N, C, H, W), float32, the whole photographs; NaN for images that are not cropped; (N, 0, 0, 0) if
            unknown.
        crop: (N, 4) float32, left, top, width, height of the model's crop as shares of the whole photograph.
    """

    x: Tensor
    y: Tensor
    predicted: Tensor
    sources: tuple[str, ...]
    keys: Tensor
    boxes: Tensor
    level: Tensor
    whole: Tensor
    crop: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def at(self, rows: Tensor) -> Pictures:
        """Return the images with the indices ``rows`` (M,) int64."""
        found: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            found[field.name] = value[rows.to(value.device)] if isinstance(value, Tensor) else value
        found["sources"] = tuple(self.sources[row] for row in rows.tolist())
        return replace(self, **found)


def make_pictures(
    x: Tensor,
    y: Tensor,
    predicted: Tensor,
    sources: tuple[str, ...],
    keys: Tensor,
    *,
    boxes: Tensor | None = None,
    level: Tensor | None = None,
    whole: Tensor | None = None,
    crop: Tensor | None = None,
) -> Pictures:
    """Make images; boxes, levels and whole photographs are optional."""
    nothing = x.new_full((len(x), 4), torch.nan)
    return Pictures(
        x=x,
        y=y,
        predicted=predicted,
        sources=sources,
        keys=keys,
        boxes=nothing if boxes is None else boxes,
        level=nothing[:, 0] if level is None else level,
        whole=x.new_zeros(len(x), 0, 0, 0) if whole is None else whole,
        crop=nothing if crop is None else crop,
    )
