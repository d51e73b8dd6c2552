"""Figure of a claim, with its measurements and the bound they are compared with."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from whywrong.core.registry import claims, resolve
from whywrong.reproduce.protocol import ClaimResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BLUE, GREY = "#2b6cb0", "#6b7280"
NAMES = {
    "candidates": "candidates sent until right",
    "rank": "rank of the true label among the other classes, by distance",
    "linf_grey_levels": "largest change of a pixel, grey levels of 255",
}


def draw(result: ClaimResult) -> Figure:
    """Draw the figure of a claim, its own or the plain one of :func:`draw_claim`.

    No display is needed.
    """
    claim = claims().get(result.name)
    return resolve(claim.draw)(result) if claim is not None and claim.draw else draw_claim(result)


def draw_claim(result: ClaimResult) -> Figure:
    """Draw counts as bars and distances as a cumulative curve.

    The sentence of the claim is the title. No display is needed.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 3.6 * max(1, len(result.samples))), layout="constrained")
    figure.suptitle(f"{result.name}: {result.verdict}", x=0.01, ha="left", fontsize=11, fontweight="bold")
    for position, (name, values) in enumerate(result.samples.items(), start=1):
        axes = figure.add_subplot(len(result.samples), 1, position)
        data = np.asarray(values, dtype=float)
        if len(data) == 0:
            axes.text(0.5, 0.5, "no errors", ha="center", va="center", color=GREY)
            axes.set_axis_off()
            continue
        _bars(axes, data) if np.array_equal(data, data.round()) else _cumulative(axes, data)
        axes.set_xlabel(NAMES.get(name, name))
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    return figure


def _bars(axes: Axes, data: np.ndarray) -> None:
    counts = Counter(data.astype(int).tolist())
    places = sorted(counts)
    shares = [100 * counts[place] / len(data) for place in places]
    axes.bar([str(place) for place in places], shares, color=BLUE, width=0.7)
    for place, share in enumerate(shares):
        axes.text(place, share, f"{share:.3g} %", ha="center", va="bottom", fontsize=8)
    axes.set_ylabel("share of errors, %")
    axes.set_ylim(0, max(shares) * 1.15)


def _cumulative(axes: Axes, data: np.ndarray) -> None:
    data = np.sort(data)
    axes.step(data, 100 * np.arange(1, len(data) + 1) / len(data), where="post", color=BLUE)
    median = float(np.median(data))
    axes.axvline(median, color=GREY, linewidth=1, linestyle=":")
    axes.text(median, 4, f" half: {median:.2g}", color=GREY, fontsize=9)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_ylabel("errors that become right, %")
    axes.set_ylim(0, 102)
