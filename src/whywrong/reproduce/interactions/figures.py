"""Figures of the claims about interactions, with profiles, differences, shares of signs, attribution and curves.

Curves are labelled at their ends, the zero line is drawn, and a sentence above says what the figure shows. Hues are
distinguishable for colour-blind readers, and every line has its own dash pattern.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from whywrong.reproduce.protocol import ClaimResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, GREY, PALE = "#1f2937", "#6b7280", "#e5e7eb"
STYLES: dict[str, tuple[str, str, str]] = {  # colour, dash, name in words
    "correct": ("#6b7280", "-", "correctly classified"),
    "clean_mis": ("#7b5ea7", (0, (4, 1.5)), "own errors"),  # type: ignore[dict-item]
    "adv_mis": ("#c2570c", "-", "attacked"),
    "corrupt_mis": ("#2b6cb0", (0, (6, 1.5, 1, 1.5)), "corrupted"),  # type: ignore[dict-item]
    "control": ("#2f8f83", (0, (1, 1)), "corrupted, still right"),  # type: ignore[dict-item]
    "model": ("#2b6cb0", "-", "first model"),
    "model2": ("#c2570c", (0, (4, 1.5)), "second model"),  # type: ignore[dict-item]
    "moxi": ("#2b6cb0", "-", "MoXI"),
    "shapley": ("#c2570c", (0, (4, 1.5)), "Shapley values"),  # type: ignore[dict-item]
    "grad_cam": ("#6b7280", (0, (1, 1)), "Grad-CAM"),  # type: ignore[dict-item]
    "rollout": ("#7b5ea7", (0, (6, 1.5, 1, 1.5)), "attention rollout"),  # type: ignore[dict-item]
}
AXES = {
    "A": "mean size of an interaction, A",
    "J": "relative strength, J",
    "pos_share": "positive share of A",
}
ORDER = "order r: share of the other patches that are visible"


def draw_band(result: ClaimResult) -> Figure:
    """Draw a group, its sources and their difference, for claims C1 and C2.

    The band of orders in question is shaded.
    """
    shown = result.drawing
    figure, axes = _grid(result, rows=2, heights=(1.25, 1))
    group = next(iter(shown["lines"]))
    for column, name in enumerate(shown["names"]):
        top, bottom = axes[0][column], axes[1][column]
        ratios = np.asarray(shown["ratios"])
        inside = ratios[np.asarray(shown["bands"][0 if shown["band"] == "low" else 2])]
        for place in (top, bottom):
            place.axvspan(inside.min() - 0.02, inside.max() + 0.02, color=PALE, zorder=0, linewidth=0)
        lines = {group: shown["lines"][group][name], "source": shown["lines"][f"{group}, sources"][name]}
        _profiles(top, ratios, lines, _noisy(shown, name, {group: group, "source": f"{group}, sources"}))
        top.set_title(_words(name, group), fontsize=9, color=INK, loc="left")
        top.set_ylim(bottom=0)
        colour = STYLES[group][0]
        values = np.asarray(shown["difference"][name], dtype=float)
        bottom.axhline(0, color=INK, linewidth=0.8)
        bottom.fill_between(ratios, values[:, 1], values[:, 2], color=colour, alpha=0.18, linewidth=0)
        bottom.plot(ratios, values[:, 0], color=colour, linewidth=1.6)
        _label_ends(bottom, [(values[-1, 0], STYLES[group][2], colour), *_control(bottom, ratios, shown, name)])
        sure = values[:, 3] < 0.05
        bottom.plot(ratios[sure], values[sure, 0], "o", color=colour, markersize=4.5)
        bottom.plot(ratios[~sure], values[~sure, 0], "o", mfc="white", mec=colour, markersize=4.5)
        bottom.set_xlabel(ORDER, fontsize=8)
    axes[0][0].set_ylabel(AXES["A"], fontsize=8)
    axes[1][0].set_ylabel("A minus A of the source", fontsize=8)
    _foot(
        axes,
        "bands: 95 % intervals over images; filled points: p < 0.05 after Holm; "
        "crosses: over 30 % sampling noise; grey: the orders in question",
    )
    return figure


def draw_profiles(result: ClaimResult) -> Figure:
    """Draw a statistic of several groups over the orders, for claims C3, C5 and C6."""
    shown = result.drawing
    figure, axes = _grid(result, rows=1)
    for column, name in enumerate(shown["names"]):
        place = axes[0][column]
        lines = {group: line[name] for group, line in shown["lines"].items()}
        if shown["statistic"] == "J":
            place.axhline(1, color=INK, linewidth=0.8)
        if shown["statistic"] == "pos_share":
            place.axhline(0.5, color=INK, linewidth=0.8)
        _profiles(place, np.asarray(shown["ratios"]), lines, _noisy(shown, name, {group: group for group in lines}))
        place.set_title(_words(name, ""), fontsize=9, color=INK, loc="left")
        place.set_xlabel(ORDER, fontsize=8)
    axes[0][0].set_ylabel(AXES[shown["statistic"]], fontsize=8)
    level = {"J": "; line: the mean over orders", "pos_share": "; line: as much positive as negative"}
    _foot(
        axes, f"bands: 95 % intervals over images{level.get(shown['statistic'], '')}; crosses: over 30 % sampling noise"
    )
    return figure


def draw_models(result: ClaimResult) -> Figure:
    """Draw J of two models on the same images, for claim C4."""
    shown = result.drawing
    figure, axes = _grid(result, rows=2, heights=(1.25, 1))
    ratios = np.asarray(shown["ratios"])
    for column, name in enumerate(shown["names"]):
        top, bottom = axes[0][column], axes[1][column]
        top.axhline(1, color=INK, linewidth=0.8)
        _profiles(top, ratios, shown["lines"][name], {})
        top.set_title(_words(name, ""), fontsize=9, color=INK, loc="left")
        values = np.asarray(shown["difference"][name], dtype=float)
        bottom.axhline(0, color=INK, linewidth=0.8)
        bottom.fill_between(ratios, values[:, 1], values[:, 2], color=GREY, alpha=0.2, linewidth=0)
        bottom.plot(ratios, values[:, 0], "o-", color=GREY, linewidth=1.6, markersize=4)
        bottom.set_xlabel(ORDER, fontsize=8)
    axes[0][0].set_ylabel(AXES["J"], fontsize=8)
    axes[1][0].set_ylabel("first minus second", fontsize=8)
    _foot(axes, "bands: 95 % intervals over images")
    return figure


def draw_parts(result: ClaimResult) -> Figure:
    """Draw how much of the change each band accounts for, for claim C7."""
    shown = result.drawing
    figure, axes = _grid(result, rows=1)
    labels = {"alone": "patches\nalone", "low": "low\nr <= 0.2", "mid": "middle", "high": "high\nr >= 0.8"}
    for column, name in enumerate(shown["names"]):
        place = axes[0][column]
        values = 100 * np.asarray(shown["shares"][name], dtype=float)
        colours = [GREY, "#93b4d8", "#5b8cc0", "#2b6cb0"]
        errors = np.abs(values[:, 1:] - values[:, :1]).T
        place.bar(
            range(4), values[:, 0], color=colours, width=0.62, yerr=errors, ecolor=INK, capsize=2, error_kw={"lw": 0.9}
        )
        place.axhline(0, color=INK, linewidth=0.8)
        low, high = place.get_ylim()
        for number, (value, bottom, top) in enumerate(values):
            end = top if value >= 0 else bottom
            place.text(number, end + (0.02 if value >= 0 else -0.02) * (high - low), f"{value:.0f} %", ha="center",
                       va="bottom" if value >= 0 else "top", fontsize=8, color=INK)  # fmt: skip
        place.set_ylim(low - 0.05 * (high - low), high + 0.08 * (high - low))
        place.set_xticks(range(4), [labels[part] for part in shown["parts"]], fontsize=8)
        place.set_title(_words(name, "adv_mis"), fontsize=9, color=INK, loc="left")
    axes[0][0].set_ylabel("share of the change, %", fontsize=8)
    _foot(axes, "bars add up to 100 %; lines: 95 % intervals over images")
    return figure


def draw_curves(result: ClaimResult) -> Figure:
    """Draw accuracy after each patch shown or hidden, for claim C8."""
    shown = result.drawing
    figure, axes = _grid(result, rows=1)
    titles = {"insertion": "only these patches are shown", "deletion": "these patches are hidden"}
    for column, (word, lines) in enumerate(shown["curves"].items()):
        place = axes[0][column]
        ends: list[tuple[float, str, str]] = []
        for name, values in lines.items():
            colour, dash, label = STYLES[name]
            x = 100 * np.arange(len(values)) / shown["players"]
            place.plot(x, 100 * np.asarray(values), color=colour, linestyle=dash, linewidth=1.8)
            ends.append((100 * values[-1], label, colour))
        place.set_ylim(-2, 102)
        _label_ends(place, ends)
        place.set_title(titles[word], fontsize=9, color=INK, loc="left")
        place.set_xlabel("share of patches, %", fontsize=8)
    axes[0][0].set_ylabel("images correctly classified, %", fontsize=8)
    return figure


def _grid(result: ClaimResult, *, rows: int, heights: Sequence[float] = (1,)) -> tuple[Figure, list[list[Axes]]]:
    """Create a figure with its sentence above two columns of axes."""
    import textwrap

    from matplotlib.figure import Figure

    lines = textwrap.wrap(f"{result.verdict}: {result.sentence}", 165)
    above, below = 0.4 + 0.18 * len(lines), 0.4 + 2.9 * rows  # inches
    figure = Figure(figsize=(10.5, above + below), layout="constrained")
    head, body = figure.subfigures(2, 1, squeeze=False, height_ratios=(above, below))[:, 0]
    title = {"ha": "left", "va": "top", "color": INK}
    head.text(0.012, 1 - 0.08 / above, f"{result.name}: {result.title}", fontsize=11, fontweight="bold", **title)
    head.text(0.012, 1 - 0.32 / above, "\n".join(lines), fontsize=8.5, linespacing=1.35, **title)
    places = body.subplots(
        rows, 2, squeeze=False, sharex="col", sharey="row", height_ratios=list(heights)[:rows] or None
    )
    for row in places:
        for place in row:
            for side in ("top", "right"):
                place.spines[side].set_visible(False)
            place.tick_params(labelsize=8, colors=INK)
            place.yaxis.set_tick_params(labelleft=True)
    return figure, places.tolist()


def _profiles(place: Axes, ratios: np.ndarray, lines: Mapping[str, Any], noisy: Mapping[str, Sequence[bool]]) -> None:
    """Draw curves (R, 3) with their intervals and names.

    Points that are mostly noise are hollow.
    """
    ends: list[tuple[float, str, str]] = []
    for group, line in lines.items():
        colour, dash, label = STYLES.get(group, (GREY, "-", "their sources"))
        values = np.asarray(line, dtype=float)
        place.fill_between(ratios, values[:, 1], values[:, 2], color=colour, alpha=0.15, linewidth=0)
        place.plot(ratios, values[:, 0], color=colour, linestyle=dash, linewidth=1.8)
        marked = np.asarray(noisy.get(group, np.zeros(len(ratios), dtype=bool)), dtype=bool)
        place.plot(ratios[marked], values[marked, 0], "x", color=colour, markersize=4)
        ends.append((float(values[-1, 0]), label, colour))
    _label_ends(place, ends)
    place.set_xlim(-0.03, 1.03)


def _label_ends(place: Axes, ends: Sequence[tuple[float, str, str]]) -> None:
    """Write names to the right of the curves, moved apart to avoid overlaps."""
    low, high = place.get_ylim()
    gap = 0.075 * (high - low)
    at = sorted(ends)
    heights = [y for y, _, _ in at]
    for number in range(1, len(heights)):
        heights[number] = max(heights[number], heights[number - 1] + gap)
    over = heights[-1] - max(high, at[-1][0]) if heights else 0
    heights = [height - max(0.0, over) for height in heights]
    for height, (_, label, colour) in zip(heights, at, strict=True):
        place.annotate(
            label,
            (1.0, height),
            xycoords=("axes fraction", "data"),
            xytext=(4, 0),
            textcoords="offset points",
            ha="left",
            va="center",
            fontsize=8,
            color=colour,
            annotation_clip=False,
        )


def _control(place: Axes, ratios: np.ndarray, shown: Mapping[str, Any], name: str) -> list[tuple[float, str, str]]:
    """Draw the difference of the control from its sources as a thin line.

    Returns its end and name.
    """
    if not shown["control"]:
        return []
    colour, dash, label = STYLES["control"]
    place.plot(ratios, shown["control"][name], color=colour, linestyle=dash, linewidth=1.4)
    return [(shown["control"][name][-1], label, colour)]


def _noisy(shown: Mapping[str, Any], name: str, groups: Mapping[str, str]) -> dict[str, Sequence[bool]]:
    return {group: shown["noisy"][stored][name] for group, stored in groups.items()}


def _words(name: str, group: str) -> str:
    """Write names such as ``log_odds_true`` in words."""
    kind, _, of = name.rpartition("_")
    which = "true class" if of == "true" else "predicted class" if group else "predicted class (runner-up where right)"
    return f"{kind.replace('_', '-')} of the {which}"


def _foot(places: list[list[Axes]], text: str) -> None:
    """Write a line of small print below the axes, with space reserved by the layout."""
    places[-1][0].figure.supxlabel(text, x=0.012, ha="left", fontsize=7.5, color=GREY)
