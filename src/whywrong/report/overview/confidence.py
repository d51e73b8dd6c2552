"""Histogram of the confidence of right and wrong predictions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from whywrong.core.statistics import wilson
from whywrong.report.numbers import count, interval, percent
from whywrong.report.primitives.run_summary import RunSummary
from whywrong.report.tables import Tables
from whywrong.runs.store.error_tables import BINS as FINE_BINS
from whywrong.runs.store.error_tables import CONFIDENT

BINS = 20
LEAST = 10  # labelled images for a histogram
WIDTH, HALF = 400, 80  # of the drawing: its width, and the height of each side


@dataclass(frozen=True, slots=True)
class ConfidenceChart:
    """Histogram with right predictions above the axis and wrong ones below it, on one scale.

    Attributes:
        reading: The sentence that the chart supports.
        right, wrong: Numbers of predictions; ``right_path`` and ``wrong_path`` are the SVG paths of their bars.
        axis: Vertical position of the axis in the drawing of ``width`` x ``height`` units.
        most: Number of predictions in the longest bar.
        table: Bin, right and wrong predictions, as texts.
    """

    reading: str
    right: int
    wrong: int
    right_path: str
    wrong_path: str
    width: int
    height: int
    axis: int
    most: int
    described: str
    table: list[tuple[str, str, str]]


def confidence_chart(tables: Tables, summary: RunSummary) -> ConfidenceChart | None:
    """Draw the confidence of right and wrong predictions.

    Returns None for few labelled images, or if no prediction has a confidence.
    """
    if summary.labelled < LEAST:
        return None
    numbers = np.zeros((2, BINS), dtype=np.int64)
    for row in tables.rows(
        f"select wrong, bin // {FINE_BINS // BINS} as bin, sum(images)::bigint as n"
        f" from {tables.counts('confidence_bins')} group by all"
    ):
        numbers[int(row["wrong"]), row["bin"]] = row["n"]
    if not numbers.sum():
        return None
    sure = tables.rows(
        "select coalesce(sum(confident), 0)::bigint as n,"
        " coalesce(sum(confident) filter (predicted <> label), 0)::bigint as wrong"
        f" from {tables.counts('pairs')} where status = 'ok' and label is not null"
    )[0]
    most = int(numbers.max())
    above = round(HALF * numbers[0].max() / most)
    below = round(HALF * numbers[1].max() / most)
    reading = _reading(int(sure["wrong"] or 0), sure["n"], summary)
    edges = [f"{100 * i // BINS} to {100 * (i + 1) // BINS} %" for i in range(BINS)]
    return ConfidenceChart(
        reading,
        int(numbers[0].sum()),
        int(numbers[1].sum()),
        _bars(numbers[0], above, -1, most),
        _bars(numbers[1], above, 1, most),
        WIDTH,
        above + max(below, 1),
        above,
        most,
        f"Bars of the confidence of {count(int(numbers[0].sum()), 'right prediction')} and"
        f" {count(int(numbers[1].sum()), 'wrong prediction')}; the same numbers are in the table below.",
        [
            (edge, f"{right:,}", f"{wrong:,}")
            for edge, right, wrong in zip(edges, *numbers.tolist(), strict=True)
            if right or wrong
        ],
    )


def _bars(numbers: np.ndarray, axis: int, direction: int, most: int) -> str:
    """Draw one side of the axis as a single path."""
    step = WIDTH / BINS
    path = ""
    for i, n in enumerate(numbers.tolist()):
        if n:
            height = max(1.0, HALF * n / most)
            path += f"M{i * step + 1:g} {axis}v{direction * height:.4g}h{step - 2:g}v{-direction * height:.4g}z"
    return path


def _reading(wrong: int, sure: int, summary: RunSummary) -> str:
    if not sure:
        return f"No prediction has a confidence of {percent(CONFIDENT)} or more."
    rate = wilson(wrong, sure)
    text = (
        f"Of {count(sure, 'prediction')} with at least {percent(CONFIDENT)} confidence, {wrong:,}"
        f" {'is' if wrong == 1 else 'are'} wrong ({percent(rate.value)}, 95 % interval {interval(rate)})"
    )
    if rate.low > 1 - CONFIDENT:
        return f"{text}; for a calibrated model it would be at most {percent(1 - CONFIDENT)}."
    if summary.errors and not wrong:
        return f"{text}; all errors have a lower confidence."
    return f"{text}."
