"""Small charts as plain data, which the templates draw as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar

from whywrong.report.numbers import percent, sig

WIDTH, HEIGHT = 392, 212
LEFT, RIGHT, TOP, BOTTOM = 40, 112, 14, 40  # space for ticks, direct labels and the name of the x axis
LABEL_GAP = 17
FEWEST = 5  # smallest number of errors for a figure over all of them


@dataclass(frozen=True, slots=True)
class Series:
    """A line of a chart, with an interval at each point.

    Attributes:
        role: Colour of the line, ``true`` or ``wrong``; any other role has the accent colour.
        label: A few words at the end of the line.
        at: x of each point, in [0, 1], ascending.
        value, low, high: y of each point, at least 0, and the ends of its 95 % interval, NaN if unknown.
        doubtful: Which points are mostly noise, and are therefore hollow.
    """

    role: str
    label: str
    at: Sequence[float]
    value: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    doubtful: Sequence[bool]


@dataclass(frozen=True, slots=True)
class Line:
    """A series in SVG units, with points (x, y, hollow) and paths of the line, its doubtful parts and its band."""

    role: str
    label: str
    label_y: float
    path: str
    doubtful: str
    band: str
    points: list[tuple[float, float, bool]]


@dataclass(frozen=True, slots=True)
class LineChart:
    """A line chart with a share from 0 to 100 % on the x axis and a y axis that starts at zero.

    Attributes:
        x_ticks, y_ticks: Position and text of each tick.
        described: Alternative text.
    """

    width: int
    height: int
    left: float
    right: float
    top: float
    bottom: float
    x_ticks: list[tuple[float, str]]
    y_ticks: list[tuple[float, str]]
    x_title: str
    y_title: str
    lines: list[Line]
    described: str


def line_chart(series: Sequence[Series], *, x_title: str, y_title: str, described: str) -> LineChart:
    """Build a chart of one or more series.

    Bands that leave the frame are clipped.
    """
    values = [v for one in series for v in one.value]
    tops = [h for one in series for h in one.high if math.isfinite(h)]
    # One wide interval must not flatten all lines.
    most = max(min(max(tops, default=0.0), 2.0 * max(values, default=0.0)), max(values, default=0.0)) or 1.0
    steps = ticks(most)
    most = max(most, steps[-1])
    left, right, top, bottom = LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM

    def x(share: float) -> float:
        return round(left + (right - left) * share, 1)

    def y(value: float) -> float:
        return round(bottom - (bottom - top) * min(max(value / most, 0.0), 1.0), 1)

    lines = []
    for one in series:
        upper = [(x(a), y(h) if math.isfinite(h) else h) for a, h in zip(one.at, one.high, strict=True)]
        lower = [(x(a), y(low) if math.isfinite(low) else low) for a, low in zip(one.at, one.low, strict=True)]
        points = [(x(a), y(v), bool(hollow)) for a, v, hollow in zip(one.at, one.value, one.doubtful, strict=True)]
        lines.append(
            Line(
                one.role,
                one.label,
                points[-1][1] if points else bottom,
                "".join(_path(run) for run in _runs(points, hollow=False)),
                "".join(_path(run) for run in _runs(points, hollow=True)),
                _band(upper, lower),
                points,
            )
        )
    return LineChart(
        WIDTH,
        HEIGHT,
        left,
        right,
        top,
        bottom,
        [(x(share), f"{round(100 * share)}") for share in (0, 0.25, 0.5, 0.75, 1)],
        [(y(step), sig(step)) for step in steps],
        x_title,
        y_title,
        _apart(lines, top, bottom),
        described,
    )


def ticks(most: float, number: int = 3) -> list[float]:
    """Choose round tick values from 0 up to about ``most``.

    There are about ``number`` steps, each 1, 2 or 5 times a power of ten.
    """
    size = 10.0 ** math.floor(math.log10(most / number))
    step = next(factor * size for factor in (1, 2, 5, 10) if factor * size >= most / number * 0.999)
    return [step * i for i in range(int(most / step * 1.001) + 1)]


def _apart(lines: list[Line], top: float, bottom: float) -> list[Line]:
    """Move labels apart so that none overlaps another."""
    order = sorted(range(len(lines)), key=lambda i: lines[i].label_y)
    places = [lines[i].label_y for i in order]
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + LABEL_GAP)
    over = max(0.0, places[-1] - bottom) if places else 0.0
    for i in reversed(range(len(places))):
        places[i] -= over
        over = max(0.0, over) if i and places[i] - places[i - 1] < LABEL_GAP else 0.0
    moved = dict(zip(order, places, strict=True))
    return [replace(line, label_y=round(max(moved[i], top), 1)) for i, line in enumerate(lines)]


@dataclass(frozen=True, slots=True)
class Sparkline:
    """A small line without axes, with its end point and the texts of both ends."""

    width: int
    height: int
    path: str
    end: tuple[float, float]
    start_text: str
    end_text: str
    described: str


def sparkline(values: Sequence[float], *, start: str, end: str, described: str) -> Sparkline | None:
    """Draw values in [0, 1] over the steps of a search.

    Returns None for fewer than two values.
    """
    if len(values) < 2:
        return None
    width, height, edge = 120, 28, 3
    points = [
        (
            round(edge + (width - 2 * edge) * i / (len(values) - 1), 1),
            round(height - edge - (height - 2 * edge) * min(max(value, 0.0), 1.0), 1),
        )
        for i, value in enumerate(values)
    ]
    return Sparkline(width, height, _path(points), points[-1], start, end, described)


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar of a small bar chart, with label, count, and length as a share of the longest bar."""

    label: str
    number: int
    length: float
    share: str


@dataclass(frozen=True, slots=True)
class Bars:
    """A small bar chart with a sentence that summarises it."""

    shape: ClassVar[str] = "bars"
    key: str
    title: str
    readings: list[str]
    axis: str
    bars: list[Bar]


def bars_of(numbers: Sequence[tuple[str, int]], total: int) -> list[Bar]:
    """Build bars for labelled counts, with shares of ``total``."""
    most = max((n for _, n in numbers), default=0) or 1
    return [Bar(label, n, n / most, percent(n / total)) for label, n in numbers]


@dataclass(frozen=True, slots=True)
class Bin:
    """A bin from ``low`` to ``high`` (texts), with the number of errors, its height as a share of the highest bin, and
    its share of all errors.
    """

    low: str
    high: str
    number: int
    height: float
    share: str


@dataclass(frozen=True, slots=True)
class Histogram:
    """A histogram of errors by a measured size.

    Attributes:
        axis: Caption of the axes.
        unit: Unit of the bin edges.
        described: Alternative text.
    """

    shape: ClassVar[str] = "histogram"
    title: str
    reading: str
    bins: list[Bin]
    axis: str
    unit: str
    described: str


def _runs(points: Sequence[tuple[float, float, bool]], *, hollow: bool) -> list[list[tuple[float, float]]]:
    """Split a line into segments that touch no hollow point, or into those that do."""
    found: list[list[tuple[float, float]]] = []
    for (x0, y0, a), (x1, y1, b) in pairwise(points):
        if (a or b) is not hollow:
            continue
        if found and found[-1][-1] == (x0, y0):
            found[-1].append((x1, y1))
        else:
            found.append([(x0, y0), (x1, y1)])
    return found


def _band(upper: Sequence[tuple[float, float]], lower: Sequence[tuple[float, float]]) -> str:
    """Build the area between two lines, with a gap if one of them is unknown."""
    path, run = "", []
    for pair in [*zip(upper, lower, strict=True), None]:
        if pair is not None and math.isfinite(pair[0][1]) and math.isfinite(pair[1][1]):
            run.append(pair)
            continue
        if len(run) > 1:
            path += _path([*(above for above, _ in run), *(below for _, below in reversed(run))]) + "Z"
        run = []
    return path


def _path(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in points) if points else ""
