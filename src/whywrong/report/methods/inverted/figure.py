"""Figure of the inverted attack for notebooks, with region fix, sensitivity, and amplified 8-bit change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from whywrong.report.numbers import grey_levels, known, sig
from whywrong.report.primitives.axes import grid, lay, photo_of, row_of, show, to_numpy, under
from whywrong.report.primitives.overlays import amplification, common_scale, density, smoothed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

    from whywrong.core.result import MethodResult


def draw_inverted(result: MethodResult, x: Tensor, rows: Sequence[int]) -> Figure:
    """Draw the photograph, region fix, sensitivity, and amplified 8-bit change."""
    columns, maps = result.columns(), {name: to_numpy(values) for name, values in result.maps().items()}
    figure, axes = grid(len(rows), 4)
    for line, row in zip(axes, rows, strict=True):
        photo = photo_of(x, row)
        status, rho = columns["status"][row], float(columns["rho_linf"][row])
        show(line[0], photo, "image")
        line[0].set_xlabel(f"correct after {grey_levels(255 * rho)}" if known(rho) else str(status).replace("_", " "))
        _region(line[1], photo, row_of(maps, "region_mask", row))
        _contribution(line[2], photo, row_of(maps, "contribution", row))
        _change(line[3], row_of(maps, "fix_u8", row), x[row].detach().cpu().numpy() * 255)
    return figure


def _region(axis: Axes, photo: np.ndarray, mask: np.ndarray | None) -> None:
    if mask is None or not mask.any():
        show(axis, None, "no region change")
        return
    show(axis, photo * 0.85, "region change")
    axis.contour(mask, levels=[0.5], colors=["black"], linewidths=3)
    axis.contour(mask, levels=[0.5], colors=["white"], linewidths=1.5)


def _contribution(axis: Axes, photo: np.ndarray, values: np.ndarray | None) -> None:
    if values is None:
        show(axis, None, "no contribution map")
        return
    cells = density(-smoothed(values))
    scale = common_scale([cells])
    show(axis, under(photo), "where the model is sensitive")
    lay(axis, cells, scale, photo.shape)
    axis.set_xlabel(f"full strength at ± {sig(scale, 2)} logits per 1 %")


def _change(axis: Axes, fixed: np.ndarray | None, pixels: np.ndarray) -> None:
    if fixed is None:
        show(axis, None, "no 8-bit change")
        return
    change = fixed - pixels
    factor = amplification(change)
    show(axis, np.clip(0.5 + factor * np.moveaxis(change, 0, -1) / 255, 0, 1), f"8-bit change × {factor}")
    axis.set_xlabel(f"true change at most {grey_levels(float(np.abs(change).max()))}")
