"""Figure of counterfactuals for notebooks, with the image, both counterfactuals, and the change, on one scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from whywrong.report.numbers import percent, sig

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

    from whywrong.core.result import MethodResult

_TITLES = {"true": "into the true class", "wrong": "deeper into the wrong class", "runner_up": "into the runner-up"}
_SIDES = {"true": ("true",), "wrong": ("wrong", "runner_up")}
_NOT_SHOWN, _DOUBTED = "adversarial", "undecided"
_WORDS = {
    "semantic": "trust: semantic",
    "undecided": "trust undecided: may be no explanation",
    "unchecked": "trust was not checked",
}


def draw_counterfactuals(result: MethodResult, x: Tensor, rows: Sequence[int]) -> Figure:
    """Draw each image with its counterfactuals and their signed changes.

    The figure has one row per image. Changes are summed over channels and share a scale per image: red is brighter than
    before, blue darker. Adversarial counterfactuals are not drawn, because they show noise that affects only this
    classifier. Undecided ones are drawn without colours, because they may not be an explanation.
    """
    from matplotlib.figure import Figure

    columns = result.columns()
    maps = {name: values.detach().cpu().float().numpy() for name, values in result.maps().items()}
    figure = Figure(figsize=(13.5, 3.1 * len(rows)), layout="constrained", dpi=110)
    axes = figure.subplots(len(rows), 5, squeeze=False)
    for line, row in zip(axes, rows, strict=True):
        _picture(line[0], np.clip(x[row].detach().cpu().float().numpy(), 0, 1), "image")
        shown = {side: _entry(columns, row, roles) for side, roles in _SIDES.items()}
        drawn = {side: entry for side, entry in shown.items() if entry is not None and entry["trust"] != _NOT_SHOWN}
        changes = [maps[f"{side}_change"][row] for side in drawn if np.isfinite(maps[f"{side}_change"][row]).all()]
        scale = max((float(np.abs(change).max()) for change in changes), default=0.0)
        for side, (left, right) in zip(_SIDES, (line[1:3], line[3:5]), strict=True):
            entry = drawn.get(side)
            if entry is not None and np.isfinite(maps[f"{side}_u8"][row]).all():
                grey = entry["trust"] == _DOUBTED
                pixels = maps[f"{side}_u8"][row] / 255
                _picture(left, pixels.mean(0, keepdims=True) if grey else pixels, _TITLES.get(entry["role"], side))
                left.set_xlabel(_caption(entry))
                _change(right, maps[f"{side}_change"][row], scale, grey=grey)
            else:
                _empty(left, _why_not(columns, row, shown[side]))
                _empty(right, "")
    return figure


def _entry(columns: Any, row: int, roles: Sequence[str]) -> dict[str, Any] | None:
    """Return the entry of an image with one of these roles and the largest radius."""
    found = [i for i, role in enumerate(columns["role"][row]) if role in roles]
    if not found:
        return None
    at = max(found, key=lambda i: columns["eps"][row][i])
    names = ("role", "eps", "trust", "valid", "probability_target_start", "probability_target_end")
    return {name: columns[name][row][at] for name in names}


def _caption(entry: dict[str, Any]) -> str:
    before, after = (percent(entry[f"probability_target_{when}"]) for when in ("start", "end"))
    text = f"{before} to {after}" + ("" if entry["valid"] else ", not reached")
    return f"{text}\n{_WORDS.get(entry['trust'], entry['trust'])}"


def _why_not(columns: Any, row: int, entry: dict[str, Any] | None) -> str:
    if columns["status"][row] != "ok":
        return f"{columns['status'][row].replace('_', ' ')}: {columns['reason'][row]}"
    if entry is None:
        return "no counterfactual asked for"
    if entry["trust"] == _NOT_SHOWN:
        return "adversarial: only this classifier\nreacts to the change, so it is not\ndrawn as an explanation"
    return "nothing changed"


def _picture(axis: Axes, pixels: np.ndarray, title: str) -> None:
    image = np.moveaxis(pixels, 0, -1)
    axis.imshow(image.squeeze(-1) if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=1)
    _plain(axis, title)


def _change(axis: Axes, change: np.ndarray, scale: float, *, grey: bool) -> None:
    axis.imshow(change, cmap="gray" if grey else "seismic", vmin=-scale or -1, vmax=scale or 1, interpolation="nearest")
    _plain(axis, "the change")
    axis.set_xlabel(f"full strength at ± {sig(scale, 2)}, channels summed")


def _empty(axis: Axes, text: str) -> None:
    _plain(axis, "")
    axis.set_frame_on(False)
    axis.text(0.5, 0.5, text, ha="center", va="center", fontsize=8, transform=axis.transAxes, wrap=True)


def _plain(axis: Axes, title: str) -> None:
    axis.set_title(title, fontsize=9)
    axis.xaxis.label.set(fontsize=8)
    axis.set_xticks([])
    axis.set_yticks([])
