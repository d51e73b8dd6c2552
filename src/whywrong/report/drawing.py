"""Figures of single results for notebooks: ``ww.plot(result, x)``. Matplotlib only; results stay plain data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from whywrong.core.errors import InputError
from whywrong.core.registry import methods, resolve
from whywrong.core.result import MethodResult
from whywrong.report.numbers import grey_levels, known, sig
from whywrong.report.primitives.overlays import (
    MAX_ALPHA,
    TRUE_RGB,
    WRONG_RGB,
    amplification,
    common_scale,
    density,
    smoothed,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor


def plot(result: MethodResult, x: Tensor, *, rows: Sequence[int] | None = None) -> Figure:
    """Draw a result next to the images it explains.

    Args:
        result: What a method returned for ``x``.
        x: The images, (B, C, H, W), in [0, 1].
        rows: Rows to draw; default the first four.

    Returns:
        A matplotlib figure, one line an image; it belongs to no window and no global state.

    Raises:
        InputError: ``x`` does not belong to ``result``, a row is not there, or no registered method draws it.

    Example:
        >>> import torch, whywrong as ww
        >>> classifier = ww.load_classifier("planted:cnn")
        >>> x, y = torch.rand(2, 3, 64, 64), torch.tensor([0, 1])
        >>> ww.plot(ww.cam(classifier, x, y), x).savefig("maps.png")
    """
    if len(x) != len(result.forwards):
        raise InputError(f"x holds {len(x)} images, the result {len(result.forwards)}")
    chosen = list(range(min(4, len(x)))) if rows is None else list(rows)
    if not chosen or not all(0 <= row < len(x) for row in chosen):
        raise InputError(f"rows must be in 0..{len(x) - 1}, got {chosen}")
    home = type(result).__module__
    for method in methods().values():
        package = method.function.partition(":")[0]
        if home == package or home.startswith(package + "."):
            return resolve(method.draw)(result, x, chosen)
    raise InputError(f"no registered method draws a {type(result).__name__}")


def draw_cam(result: MethodResult, x: Tensor, rows: Sequence[int]) -> Figure:
    """Photograph, then the evidence for the wrong class, for the true class, and the difference, on one scale."""
    columns, maps = result.columns(), {name: _numpy(values) for name, values in result.maps().items()}
    signs = {"wrong": 1.0, "true": -1.0, "difference": 1.0}
    titles = {"wrong": "for the wrong class", "true": "for the true class", "difference": "difference"}
    kinds = [kind for kind in signs if kind in maps]
    figure, axes = _grid(len(rows), 1 + len(kinds))
    for line, row in zip(axes, rows, strict=True):
        photo = _photo(x, row)
        _show(line[0], photo, "image")
        cells = {kind: density(signs[kind] * maps[kind][row]) for kind in kinds}
        if columns["status"][row] != "ok" or not all(np.isfinite(values).all() for values in cells.values()):
            for axis in line[1:]:
                _show(axis, None, f"refused: {columns['reason'][row]}" if "reason" in columns else "refused")
            continue
        scale = common_scale(list(cells.values()))
        for axis, kind in zip(line[1:], kinds, strict=True):
            rows_cols = " × ".join(map(str, cells[kind].shape))
            _show(axis, _under(photo), f"{titles[kind]}, {rows_cols} cells")
            _lay(axis, cells[kind], scale, photo.shape)
        line[-1].set_xlabel(f"blue: true class, orange: wrong class\nfull colour from ± {sig(scale, 2)} logits per 1 %")
    return figure


def draw_inverted(result: MethodResult, x: Tensor, rows: Sequence[int]) -> Figure:
    """Photograph, region fix, where the model is sensitive, and the amplified 8-bit change."""
    columns, maps = result.columns(), {name: _numpy(values) for name, values in result.maps().items()}
    figure, axes = _grid(len(rows), 4)
    for line, row in zip(axes, rows, strict=True):
        photo = _photo(x, row)
        status, rho = columns["status"][row], float(columns["rho_linf"][row])
        _show(line[0], photo, "image")
        line[0].set_xlabel(f"right after {grey_levels(255 * rho)}" if known(rho) else str(status).replace("_", " "))
        _region(line[1], photo, _row(maps, "region_mask", row))
        _contribution(line[2], photo, _row(maps, "contribution", row))
        _change(line[3], _row(maps, "fix_u8", row), x[row].detach().cpu().numpy() * 255)
    return figure


def _region(axis: Axes, photo: np.ndarray, mask: np.ndarray | None) -> None:
    if mask is None or not mask.any():
        _show(axis, None, "no region fix")
        return
    _show(axis, photo * 0.85, "region fix")
    axis.contour(mask, levels=[0.5], colors=["black"], linewidths=3)
    axis.contour(mask, levels=[0.5], colors=["white"], linewidths=1.5)


def _contribution(axis: Axes, photo: np.ndarray, values: np.ndarray | None) -> None:
    if values is None:
        _show(axis, None, "no contribution map")
        return
    cells = density(-smoothed(values))
    scale = common_scale([cells])
    _show(axis, _under(photo), "where the model is sensitive")
    _lay(axis, cells, scale, photo.shape)
    axis.set_xlabel(f"full colour from ± {sig(scale, 2)} logits per 1 %")


def _change(axis: Axes, fixed: np.ndarray | None, pixels: np.ndarray) -> None:
    if fixed is None:
        _show(axis, None, "no 8-bit fix")
        return
    change = fixed - pixels
    factor = amplification(change)
    _show(axis, np.clip(0.5 + factor * np.moveaxis(change, 0, -1) / 255, 0, 1), f"8-bit fix × {factor}")
    axis.set_xlabel(f"true change at most {grey_levels(float(np.abs(change).max()))}")


def _grid(lines: int, columns: int) -> tuple[Figure, np.ndarray]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.7 * columns, 3.0 * lines), layout="constrained", dpi=110)
    return figure, figure.subplots(lines, columns, squeeze=False)


def _show(axis: Axes, image: np.ndarray | None, title: str) -> None:
    axis.set_title(title, fontsize=9)
    axis.xaxis.label.set(fontsize=8)
    axis.set_xticks([])
    axis.set_yticks([])
    if image is None:
        axis.set_frame_on(False)
        return
    axis.imshow(image.squeeze(-1) if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=1)


def _lay(axis: Axes, cells: np.ndarray, scale: float, shape: tuple[int, ...]) -> None:
    """A signed map over the image: blue below zero, orange above, transparent at zero, its cells visible."""
    level = np.clip(cells / scale, -1, 1) if scale > 0 else np.zeros_like(cells)
    colours = np.where(level[..., None] < 0, TRUE_RGB, WRONG_RGB) / 255
    picture = np.concatenate([colours, MAX_ALPHA * np.abs(level)[..., None]], axis=-1)
    axis.imshow(picture, extent=(-0.5, shape[1] - 0.5, shape[0] - 0.5, -0.5), interpolation="nearest")


def _under(photo: np.ndarray) -> np.ndarray:
    """The photograph, slightly desaturated, as it lies under a map."""
    return 0.35 * photo + 0.65 * photo.mean(axis=-1, keepdims=True)


def _photo(x: Tensor, row: int) -> np.ndarray:
    return np.moveaxis(np.clip(x[row].detach().cpu().float().numpy(), 0, 1), 0, -1)


def _row(maps: dict[str, np.ndarray], name: str, row: int) -> np.ndarray | None:
    values = maps[name][row] if name in maps else None
    return values if values is not None and np.isfinite(values).all() else None


def _numpy(values: Any) -> np.ndarray:
    return np.asarray(values.detach().cpu().float().numpy() if hasattr(values, "detach") else values)
