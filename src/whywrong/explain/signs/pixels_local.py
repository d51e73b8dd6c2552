"""Signs of where detail lies in the image, and of straight edges as a pasted board has them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from whywrong.data.corruptions.filters import gaussian_filter
from whywrong.explain.edits.estimates import luma_of
from whywrong.explain.signs.sign import Sign

_GRID = 8
_TINY = 1e-6
_DEAD = 1e-5  # mean squared gradient below which a cell shows nothing
LEAST_SIDE = 16


def _sign(name: str, doc: str, *, high: str = "", low: str = "", colour: bool = False) -> Sign:
    return Sign(
        name=name, doc=doc, group="pixels_local", stage="pixels", high=high, low=low, colour=colour,
        least_side=LEAST_SIDE,
    )  # fmt: skip


SIGNS: tuple[Sign, ...] = (
    _sign("cell_median", "Median over 8 x 8 cells of the log gradient energy.", low="hardly any detail"),
    _sign("cell_unevenness", "Standard deviation over the cells of the log gradient energy.", high="uneven detail"),
    _sign("cell_dead", "Share of the cells without detail.", high="parts without any detail"),
    _sign("cell_centre", "Log energy of the central cells minus that of the outer ring.", low="an empty middle"),
    _sign("cell_side", "Difference of the log energy of the left and the right half.", high="one half without detail"),
    _sign("cell_jump", "Largest difference of the log energy of neighbouring columns or rows of cells."),
    _sign(
        "step_vertical",
        "Strongest vertical step that is straight over a quarter of the height.",
        high="a straight vertical edge",
    ),
    _sign("step_horizontal", "The same across.", high="a straight horizontal edge"),
    _sign("step_full", "Strongest step that is straight over the whole side.", high="an edge across the whole image"),
    _sign("cell_detail", "Log fine detail of the best cell against the median cell.", high="one place of fine detail"),
    _sign(
        "cell_chroma",
        "Log fine colour detail of the best cell against the median cell.",
        high="one place of fine colour",
        colour=True,
    ),
)


def local_signs(x: Tensor) -> dict[str, Tensor]:
    """Compute the signs of places.

    Args:
        x: (n, C, H, W), float32, in [0, 1], at least 16 pixels a side.

    Returns:
        Values (n,) by name.
    """
    luma = luma_of(x)
    found = _cells(luma) | _steps(x)
    found["cell_detail"] = _best_cell(luma)
    if x.shape[1] == 3:
        found["cell_chroma"] = _best_cell(x - luma)
    return found


def _cells(luma: Tensor) -> dict[str, Tensor]:
    padded = F.pad(luma, (1, 1, 1, 1), mode="replicate")
    across, down = padded[..., 1:-1, :].diff(dim=3).square(), padded[..., 1:-1].diff(dim=2).square()
    both = across[..., 1:] + across[..., :-1] + down[..., 1:, :] + down[..., :-1, :]  # to both sides of a pixel
    energy = F.adaptive_avg_pool2d(both / 2, _GRID)[:, 0]
    log = (energy + _TINY).log()
    inner = slice(_GRID // 4, -(_GRID // 4))
    middle = log[:, inner, inner].mean((1, 2))
    edge = torch.cat([log[:, 0], log[:, -1], log[:, 1:-1, 0], log[:, 1:-1, -1]], 1).mean(1)
    halves = log[:, :, : _GRID // 2].mean((1, 2)) - log[:, :, _GRID // 2 :].mean((1, 2))
    jumps = torch.cat([log.mean(1).diff(dim=1), log.mean(2).diff(dim=1)], 1)
    return {
        "cell_median": log.flatten(1).median(1).values,
        "cell_unevenness": log.flatten(1).std(1),
        "cell_dead": (energy < _DEAD).float().mean((1, 2)),
        "cell_centre": middle - edge,
        "cell_side": halves.abs(),
        "cell_jump": jumps.abs().amax(1),
    }


def _steps(x: Tensor) -> dict[str, Tensor]:
    """Find steps between two lines of pixels that keep their sign, so that texture averages out."""
    vertical, horizontal = x[..., 1:] - x[..., :-1], (x[..., 1:, :] - x[..., :-1, :]).transpose(2, 3)
    found, full = [], []
    for steps in (vertical, horizontal):
        length = max(2, steps.shape[2] // 4)
        sums = F.pad(steps, (0, 0, 1, 0)).cumsum(2)  # a window of any length is one difference
        found.append(((sums[..., length:, :] - sums[..., :-length, :]) / length).abs().mean(1).flatten(1).amax(1))
        full.append(steps.mean(2).abs().mean(1).amax(1))
    return {"step_vertical": found[0], "step_horizontal": found[1], "step_full": torch.stack(full).amax(0)}


def _best_cell(planes: Tensor) -> Tensor:
    """Compare the fine detail of the best cell with the median cell, (n,), a log ratio."""
    fine = (planes - gaussian_filter(planes, 1.0)).abs().mean(1, keepdim=True)
    cells = F.adaptive_avg_pool2d(fine, _GRID).flatten(1) + 1e-3
    return (cells.amax(1) / cells.median(1).values).log()
