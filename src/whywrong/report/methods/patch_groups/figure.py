"""Figure of patch groups for notebooks, drawn with Matplotlib only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from whywrong.report.primitives.overlays import MAX_ALPHA, TRUE_RGB, WRONG_RGB

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

    from whywrong.core.result import MethodResult

# Per group: its effect, the effect of the patches taken if none was found, and its colour.
_PANELS = {
    "sufficient": ("enough for class {predicted}", "not enough for class {predicted}", WRONG_RGB),
    "breaking": ("class {predicted} lost with these hidden", "class {predicted} kept with these hidden", WRONG_RGB),
    "targeted": ("with these hidden, the true class wins", "with these hidden, the true class still loses", TRUE_RGB),
}
_HIDDEN = 0.45  # grey of the patches hidden in the panel of the sufficient group


def draw_patch_groups(result: MethodResult, x: Tensor, rows: Sequence[int]) -> Figure:
    """Draw the photograph and its sufficient, breaking and targeted groups.

    Patches that the search took earlier have a stronger colour. The panel of the sufficient group shows all other
    patches in grey.
    """
    from matplotlib.figure import Figure

    columns, maps = result.columns(), {name: heat.cpu().numpy() for name, heat in result.maps().items()}
    figure = Figure(figsize=(2.7 * (1 + len(_PANELS)), 3.0 * len(rows)), layout="constrained", dpi=110)
    axes = figure.subplots(len(rows), 1 + len(_PANELS), squeeze=False)
    for line, row in zip(axes, rows, strict=True):
        photo = np.moveaxis(np.clip(x[row].detach().cpu().float().numpy(), 0, 1), 0, -1)
        photo = np.broadcast_to(photo, (*photo.shape[:2], 3)) if photo.shape[-1] == 1 else photo
        _frame(line[0], "image", photo)
        for axis, (name, (title, missed, colour)) in zip(line[1:], _PANELS.items(), strict=True):
            heat = maps[name][row]
            if not np.isfinite(heat).all():
                reason = columns["reason"][row] or "not searched"
                _frame(axis, f"{columns['status'][row]}: {reason}"[:60], None)
                continue
            _panel(axis, photo, heat, name, colour)
            size = columns[f"{name}_size"][row]
            title = missed if size is None else title
            _frame(axis, title.format(predicted=int(columns["predicted"][row])), None)
            axis.set_xlabel(_size(size, int((heat > 0).sum()), heat.size))
    return figure


def _panel(axis: Axes, photo: np.ndarray, heat: np.ndarray, name: str, colour: tuple[int, int, int]) -> None:
    """Draw a heat map (rows, cols) in [0, 1] over the photograph, with sharp cells."""
    height, width = photo.shape[:2]
    down = np.arange(height) * heat.shape[0] // height
    across = np.arange(width) * heat.shape[1] // width
    level = heat[down][:, across, None]  # (H, W, 1)
    if name == "sufficient":
        axis.imshow(np.where(level > 0, photo, _HIDDEN))
        return
    grey = 0.35 * photo + 0.65 * photo.mean(axis=-1, keepdims=True)
    alpha = MAX_ALPHA * level
    axis.imshow((1 - alpha) * grey + alpha * np.array(colour) / 255)


def _frame(axis: Axes, title: str, photo: np.ndarray | None) -> None:
    axis.set_title(title, fontsize=9)
    axis.xaxis.label.set(fontsize=8)
    axis.set_xticks([])
    axis.set_yticks([])
    if photo is not None:
        axis.imshow(photo)


def _size(size: Any, taken: int, players: int) -> str:
    if size is None:
        return f"not found within {taken} of {players} patches"
    return f"{size} of {players} patches ({size / players:.0%} of the area)"
