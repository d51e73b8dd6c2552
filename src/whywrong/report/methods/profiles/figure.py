"""Figure of interaction profiles for notebooks, with strength against the share of visible other patches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

    from whywrong.core.result import MethodResult

COLOURS = {"true": "#2b6cb0", "target": "#c05621"}
WORDS = {"true": "true class", "target": "wrong class"}


def draw_profiles(result: MethodResult, x: Tensor, rows: Sequence[int]) -> Figure:
    """Draw the image and the interaction strength for the true and the wrong class.

    Strength is the square root of the debiased mean square, with a band of one standard error. Hollow points are mostly
    sampling noise.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 2.9 * len(rows)), layout="constrained", dpi=110)
    axes = figure.subplots(len(rows), 2, squeeze=False, width_ratios=(1, 2.4))
    columns = result.columns()
    for (left, right), row in zip(axes, rows, strict=True):
        photo = np.moveaxis(np.clip(x[row].detach().cpu().float().numpy(), 0, 1), 0, -1)
        left.imshow(photo.squeeze(-1) if photo.shape[-1] == 1 else photo, cmap="gray", vmin=0, vmax=1)
        left.set_xticks([])
        left.set_yticks([])
        left.set_title(f"{columns['rows'][row]} × {columns['cols'][row]} {columns['players'][row]}", fontsize=9)
        if columns["status"][row] != "ok":
            right.text(0.5, 0.5, str(columns["reason"][row] or columns["status"][row]), ha="center", va="center")
            right.set_axis_off()
            continue
        _curves(right, {name: columns[name][row] for name in columns})
    return figure


def _curves(axes: Axes, row: dict[str, Any]) -> None:
    kind = np.asarray(row["class"])
    ratio, U, U_se = (np.asarray(row[name], dtype=float) for name in ("ratio", "U", "U_se"))
    noisy = np.asarray(row["noisy"], dtype=bool)
    for name, colour in COLOURS.items():
        mine = kind == name
        at, strength = 100 * ratio[mine], np.sqrt(U[mine].clip(0))
        low, high = (np.sqrt((U[mine] + sign * U_se[mine]).clip(0)) for sign in (-1, 1))
        axes.fill_between(at, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.plot(at, strength, color=colour, linewidth=1.5)
        for hollow in (False, True):
            some = noisy[mine] == hollow
            axes.plot(at[some], strength[some], "o", color=colour, markersize=4, mfc="white" if hollow else colour)
        axes.annotate(f" {WORDS[name]}", (at[-1], strength[-1]), color=colour, fontsize=9, va="center")
    axes.set_ylim(bottom=0)
    axes.set_xlim(-2, 122)
    axes.set_xticks([0, 25, 50, 75, 100])
    axes.set_xlabel("other patches visible, %", fontsize=9)
    axes.set_ylabel(f"strength, {str(row['value'][0]).replace('_', ' ')}", fontsize=9)
    axes.set_title("hollow: over 30 % sampling noise" if noisy.any() else "", fontsize=8, loc="right", color="#6b7280")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
