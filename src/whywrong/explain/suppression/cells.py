"""Cells, the disjoint sets of pixels whose changes are measured one by one."""

from __future__ import annotations

import torch
from torch import Tensor

from whywrong.core.errors import InputError


def grid_cells(grid: int, height: int, width: int) -> Tensor:
    """Number the cells of a grid by rows.

    A pixel in row i belongs to row floor(i * grid / height) of the grid, so that sides need not be divisible and cells
    differ by at most one row and one column.

    Returns:
        (H, W) int64, 0..grid^2-1.

    Raises:
        InputError: The grid has more cells a side than the image has pixels.
    """
    if isinstance(grid, bool) or not isinstance(grid, int) or not 1 <= grid <= min(height, width):
        raise InputError(f"grid must be in 1..{min(height, width)} cells a side for {height} x {width}, got {grid!r}")
    down, across = (torch.arange(size) * grid // size for size in (height, width))
    return down[:, None] * grid + across


def mask_cells(masks: Tensor, batch: int, height: int, width: int) -> Tensor:
    """Number the pixels by the mask that holds them.

    Args:
        masks: (G, H, W) or (B, G, H, W) bool, disjoint and together covering every pixel.
        batch: Number of images B.
        height: H.
        width: W.

    Returns:
        (B, H, W) int64, 0..G-1, on the device of the masks.

    Raises:
        InputError: Another type or shape, or a pixel in no mask or in several; the message names the first one.
    """
    if not isinstance(masks, Tensor) or masks.dtype != torch.bool or masks.ndim not in (3, 4):
        got = f"{masks.dtype} {tuple(masks.shape)}" if isinstance(masks, Tensor) else type(masks).__name__
        raise InputError(f"masks must be bool (G, H, W) or (B, G, H, W), got {got}")
    every = masks.expand(batch, -1, -1, -1) if masks.ndim == 3 else masks
    if len(every) != batch or every.shape[2:] != (height, width) or every.shape[1] == 0:
        raise InputError(
            f"masks must cover {batch} images of {height} x {width} pixels, got shape {tuple(masks.shape)}"
        )
    times = every.sum(1)
    wrong = (times != 1).nonzero()
    if len(wrong):
        row, i, j = wrong[0].tolist()
        count = int(times[row, i, j])
        fault = "lies in no mask" if count == 0 else f"lies in {count} masks"
        raise InputError(f"masks must be disjoint and cover the image, pixel ({i}, {j}) of row {row} {fault}")
    return every.int().argmax(1)


def cell_sums(values: Tensor, cells: Tensor, count: int) -> Tensor:
    """Sum maps over each cell.

    Args:
        values: (B, V, H, W), floating point.
        cells: (B, H, W) int64, 0..count-1.
        count: G.

    Returns:
        (B, V, G) float64; 0 for a cell without pixels.
    """
    flat = values.flatten(2).double()
    sums = flat.new_zeros((*flat.shape[:2], count))
    return sums.scatter_add_(2, cells.flatten(1)[:, None].expand(-1, flat.shape[1], -1), flat)


def cell_sizes(cells: Tensor, count: int) -> Tensor:
    """Count the pixels (B, G) int64 of each cell."""
    sizes = cells.new_zeros((len(cells), count))
    return sizes.scatter_add_(1, cells.flatten(1), torch.ones_like(cells).flatten(1))


def paint_cells(values: Tensor, cells: Tensor) -> Tensor:
    """Expand values (B, G) of cells to their pixels (B, H, W)."""
    return values.gather(1, cells.flatten(1)).view_as(cells)
