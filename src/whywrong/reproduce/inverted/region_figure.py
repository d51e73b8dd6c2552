"""Figure of claim ``inverted.4``: how often fixes work inside regions, and fail without them, by area."""

from __future__ import annotations

from typing import TYPE_CHECKING

from whywrong.reproduce.inverted.region_curves import FRACTIONS, ORDERS, TESTS, curve_name
from whywrong.reproduce.protocol import ClaimResult

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = {"contribution": "#2b6cb0", "random": "#6b7280", "saliency": "#c05621"}
TITLES = {"sufficient": "works inside the regions", "necessary": "fails without the regions"}


def draw_regions(result: ClaimResult) -> Figure:
    """Draw one panel per test and one line per order of the regions.

    Null cases are dotted. No display is needed.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.4, 3.8), layout="constrained")
    figure.suptitle(f"{result.name}: {result.verdict}", x=0.01, ha="left", fontsize=11, fontweight="bold")
    panels = figure.subplots(1, len(TESTS), sharey=True)
    for axes, test in zip(panels, TESTS, strict=True):
        for order in ORDERS:
            for null in (False, True):
                points = (result.numbers.get(curve_name(test, order, part, null=null)) for part in FRACTIONS)
                shares = [100 * point for point in points if isinstance(point, float)]
                if len(shares) < len(FRACTIONS):
                    continue
                axes.plot(
                    [100 * part for part in FRACTIONS],
                    shares,
                    color=COLOURS[order],
                    linestyle=":" if null else "-",
                    marker="" if null else "o",
                    markersize=4,
                    label=f"{order}, random label" if null else order,
                )
        axes.set_title(TITLES[test], fontsize=10)
        axes.set_xlabel("area of the regions, % of the image")
        axes.set_ylim(-2, 102)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    panels[0].set_ylabel("share of fixes, %")
    if panels[0].lines:
        lines, labels = panels[0].get_legend_handles_labels()
        figure.legend(lines, labels, loc="outside lower center", ncols=len(ORDERS), fontsize=8, frameon=False)
    else:
        panels[0].text(0.5, 0.5, "no fixed errors", ha="center", va="center", transform=panels[0].transAxes)
    return figure
