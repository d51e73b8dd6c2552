"""Figure of a claim about counterfactuals, the distribution of its values over the images, one curve each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from whywrong.reproduce.protocol import ClaimResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_spread(result: ClaimResult) -> Figure:
    """Draw cumulative curves of the samples, with dotted lines at their medians.

    No display is needed.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 3.8), layout="constrained")
    figure.suptitle(f"{result.name}: {result.verdict}", x=0.01, ha="left", fontsize=11, fontweight="bold")
    axes = figure.add_subplot()
    values = {name: np.sort(np.asarray(found, dtype=float)) for name, found in result.samples.items()}
    values = {name: found[np.isfinite(found)] for name, found in values.items()}
    values = {name: found for name, found in values.items() if len(found)}
    if not values:
        axes.text(0.5, 0.5, "nothing to draw", ha="center", va="center")
        axes.set_axis_off()
        return figure
    for name, found in values.items():
        [line] = axes.step(found, 100 * np.arange(1, len(found) + 1) / len(found), where="post", label=name)
        axes.axvline(float(np.median(found)), color=line.get_color(), linewidth=1, linestyle=":")
    axes.set_xlabel(next(iter(values)) if len(values) == 1 else "value")
    axes.set_ylabel("share of images, %")
    axes.set_ylim(0, 102)
    if len(values) > 1:
        axes.legend(frameon=False, fontsize=8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure
