"""Matplotlib axes with images and signed maps, for figures in notebooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from whywrong.report.primitives.overlays import MAX_ALPHA, TRUE_RGB, WRONG_RGB

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor


def grid(lines: int, columns: int) -> tuple[Figure, np.ndarray]:
    """Create a figure without a window, and its axes as an array (lines, columns)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.7 * columns, 3.0 * lines), layout="constrained", dpi=110)
    return figure, figure.subplots(lines, columns, squeeze=False)


def show(axis: Axes, image: np.ndarray | None, title: str) -> None:
    """Draw an image (H, W, C) in [0, 1] without ticks.

    If ``image`` is None, only an empty frame with the title is drawn.
    """
    axis.set_title(title, fontsize=9)
    axis.xaxis.label.set(fontsize=8)
    axis.set_xticks([])
    axis.set_yticks([])
    if image is None:
        axis.set_frame_on(False)
        return
    axis.imshow(image.squeeze(-1) if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=1)


def lay(axis: Axes, cells: np.ndarray, scale: float, shape: tuple[int, ...]) -> None:
    """Draw a signed map (h, w) over the image.

    Negative values are blue, positive ones orange and zero is transparent. Cells have sharp edges.
    """
    level = np.clip(cells / scale, -1, 1) if scale > 0 else np.zeros_like(cells)
    colours = np.where(level[..., None] < 0, TRUE_RGB, WRONG_RGB) / 255
    picture = np.concatenate([colours, MAX_ALPHA * np.abs(level)[..., None]], axis=-1)
    axis.imshow(picture, extent=(-0.5, shape[1] - 0.5, shape[0] - 0.5, -0.5), interpolation="nearest")


def under(photo: np.ndarray) -> np.ndarray:
    """Desaturate a photograph (H, W, C) as the background of a map."""
    return 0.35 * photo + 0.65 * photo.mean(axis=-1, keepdims=True)


def photo_of(x: Tensor, row: int) -> np.ndarray:
    """Return one image of a batch (B, C, H, W) as an array (H, W, C) in [0, 1]."""
    return np.moveaxis(np.clip(x[row].detach().cpu().float().numpy(), 0, 1), 0, -1)


def row_of(maps: dict[str, np.ndarray], name: str, row: int) -> np.ndarray | None:
    """Return the map of one row.

    Returns None if the map is missing or has no finite values.
    """
    values = maps[name][row] if name in maps else None
    return values if values is not None and np.isfinite(values).all() else None


def to_numpy(values: Any) -> np.ndarray:
    """Copy a tensor or an array to a NumPy array on the CPU."""
    return np.asarray(values.detach().cpu().float().numpy() if hasattr(values, "detach") else values)
