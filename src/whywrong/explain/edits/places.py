"""Edits that move or cut the picture: flip, shifts, and crops that are enlarged to the whole image."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from whywrong.data.corruptions.filters import fold_half, sample
from whywrong.explain.edits.edit import Apply, unkeyed

_SHARE = 32  # a shift moves by one part of this of the side, at least one pixel


def flip(x: Tensor) -> Tensor:
    """Mirror left and right."""
    return x.flip(3)


def shift(down: int, across: int) -> Apply:
    """Move the picture by 1/32 of its side, at least one pixel.

    Directions are -1, 0 or 1. Border pixels are repeated where the picture leaves a gap.
    """

    def moved(x: Tensor) -> Tensor:
        for dim, way in ((2, down), (3, across)):
            if way:
                side = x.shape[dim]
                source = torch.arange(side, device=x.device) - way * max(1, round(side / _SHARE))
                x = x.index_select(dim, source.clamp(0, side - 1))
        return x

    return unkeyed(moved)


def crop(size: float, down: float = 0.5, across: float = 0.5) -> Apply:
    """Cut a window of ``size`` of both sides and enlarge it to the whole image.

    ``down`` and ``across`` place it, from 0 at the upper left to 1 at the lower right.
    """

    def cut(x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        rows, columns = (max(1, round(size * side)) for side in (height, width))
        top, left = round(down * (height - rows)), round(across * (width - columns))
        part = x[..., top : top + rows, left : left + columns]
        return F.interpolate(part, (height, width), mode="bilinear", align_corners=False).clamp(0, 1)

    return unkeyed(cut)


def crop_around(x: Tensor, size: float | Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Cut a window around a place of each image and enlarge it to the whole image.

    Args:
        x: (B, C, H, W).
        size: Share of both sides; one for all, or (B,).
        down, across: (B,), middle of the window as shares of the sides; windows stay inside the image.
    """
    height, width = x.shape[2:]

    def positions(side: int, middle: Tensor) -> Tensor:
        extent = torch.zeros_like(middle) + size
        start = (middle - extent / 2).clamp(min=0).minimum(1 - extent)[:, None] * side
        steps = (torch.arange(side, device=x.device) + 0.5) * extent[:, None] - 0.5
        return start + steps

    rows = positions(height, down)[:, :, None].expand(-1, -1, width)
    columns = positions(width, across)[:, None, :].expand(-1, height, -1)
    return sample(x, rows, columns, fold_half)
