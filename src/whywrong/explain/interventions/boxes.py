"""Boxes that pixels alone show: a plain cover, and the part of the picture that has content.

Boxes are (B, 4) float32, left, top, width and height as shares of the image. Source: ours,
docs/methods/interventions.md.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from whywrong.explain.edits.estimates import luma_of

CELLS = 8  # cells of the grid per side
_DEAD = 0.25  # a cell is plain below this share of the median detail of the image
_FEWEST = 4  # cells of a cover
_MOST = 40
_CONTENT = 0.95  # share of the detail inside the content box


def detail_grid(x: Tensor) -> Tensor:
    """Compute the mean absolute difference of neighbouring pixels in each cell.

    Returns (B, 8, 8) float32; images need 16 pixels a side.
    """
    luma = luma_of(x)
    across = F.pad((luma[..., 1:] - luma[..., :-1]).abs(), (0, 1, 0, 0), mode="replicate")
    down = F.pad((luma[..., 1:, :] - luma[..., :-1, :]).abs(), (0, 0, 0, 1), mode="replicate")
    return F.adaptive_avg_pool2d(across + down, CELLS)[:, 0]


def cover_box(x: Tensor) -> Tensor:
    """Find the largest plain rectangle of the grid.

    Returns (B, 4); NaN if no rectangle of 4 to 40 cells is plain in all of its cells.
    """
    grid = detail_grid(x).flatten(1)
    plain = grid < _DEAD * grid.median(1, keepdim=True).values
    rectangles, boxes = _rectangles(x)
    area = rectangles.sum(1)
    counted = (plain.float() @ rectangles.T >= area - 0.5) & (area >= _FEWEST) & (area <= _MOST)  # (B, N)
    best = (area * counted).max(1)
    return torch.where(best.values[:, None] > 0, boxes[best.indices], torch.nan)


def content_box(x: Tensor) -> Tensor:
    """Find the smallest rectangle of the grid with 95 % of the detail above the plainest cells.

    Returns (B, 4); the whole image if it has no detail.
    """
    grid = detail_grid(x).flatten(1)
    grid = (grid - grid.amin(1, keepdim=True)).clamp(min=0)
    rectangles, boxes = _rectangles(x)
    enough = grid @ rectangles.T >= _CONTENT * grid.sum(1, keepdim=True)
    area = rectangles.sum(1).expand_as(enough).where(enough, CELLS**2 + 1.0)
    found = boxes[area.argmin(1)]
    whole = boxes.new_tensor([0.0, 0.0, 1.0, 1.0])
    return torch.where(grid.sum(1, keepdim=True) > 0, found, whole)


def _rectangles(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return all rectangles of the grid as masks (N, 64) and boxes (N, 4)."""
    edges = torch.arange(CELLS + 1, device=x.device)
    spans = torch.combinations(edges, 2)  # (36, 2), start and end
    at = torch.arange(CELLS, device=x.device)
    inside = (at >= spans[:, :1]) & (at < spans[:, 1:])  # (36, 8)
    masks = (inside[:, None, :, None] & inside[None, :, None, :]).flatten(0, 1).flatten(1)
    rows, columns = (
        part.flatten() for part in torch.meshgrid(*[torch.arange(len(spans), device=x.device)] * 2, indexing="ij")
    )
    top, left = spans[rows, 0], spans[columns, 0]
    boxes = torch.stack([left, top, spans[columns, 1] - left, spans[rows, 1] - top], 1).float() / CELLS
    return masks.float(), boxes
