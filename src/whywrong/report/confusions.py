"""Confusions as plain data for the template, as ranked class pairs and as a matrix."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from whywrong.report.numbers import count, percent
from whywrong.report.primitives.run_summary import RunSummary
from whywrong.report.tables import Names

MATRIX_LIMIT = 30


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of the matrix, with a count of images and a shade from 0 (none) to 6 (most)."""

    label: int
    predicted: int
    number: int
    shade: int


@dataclass(frozen=True, slots=True)
class Matrix:
    """Confusion matrix, with labels as rows and predictions as columns."""

    names: list[str]
    rows: list[list[Cell]]


def matrix(summary: RunSummary, names: Names) -> Matrix | None:
    """Build the confusion matrix for at most 30 classes.

    Shades follow the logarithm of the counts. Returns None for more classes.
    """
    if not 2 <= len(names) <= MATRIX_LIMIT or not summary.pairs:
        return None
    numbers = {(pair.label, pair.predicted): pair.number for pair in summary.pairs}
    most = max(numbers.values())

    def cell(label: int, predicted: int) -> Cell:
        n = numbers.get((label, predicted), 0)
        shade = 0 if n == 0 else 1 + round(5 * math.log(n) / math.log(most)) if most > 1 else 3
        return Cell(label, predicted, n, shade)

    size = range(len(names))
    return Matrix([names[i] for i in size], [[cell(label, predicted) for predicted in size] for label in size])


@dataclass(slots=True)
class Confusion:
    """A class pair, with the errors of the pair that the page shows."""

    label: int
    predicted: int
    true_name: str
    wrong_name: str
    number: int
    width: float
    of: str
    tiles: list[tuple[str, str, str]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Confusions:
    """Class pairs by number of errors: a summary sentence, the first pairs with pictures, and the other pairs."""

    reading: str
    first: list[Confusion]
    rest: list[Confusion]
    unlisted: int


def confusions(summary: RunSummary, names: Names, first: int = 6, listed: int = 200) -> Confusions:
    """Rank class pairs by how often they are confused."""
    pairs = summary.pairs
    most = pairs[0].number if pairs else 1
    rows = [
        Confusion(
            p.label,
            p.predicted,
            names[p.label],
            names[p.predicted],
            p.number,
            p.number / most,
            f"{percent(p.number / p.of)} of {count(p.of, 'image')}",
        )
        for p in pairs[:listed]
    ]
    several = [row for row in rows if row.number > 1]
    if len(rows) > first and len(several) < first:
        first = max(6, len(several))
    return Confusions(_pairs_reading(summary), rows[:first], rows[first:], max(0, len(pairs) - listed))


def _pairs_reading(summary: RunSummary) -> str:
    pairs = summary.pairs
    if not pairs:
        return ""
    if len(pairs) == 1:
        return f"All {count(summary.errors, 'error')} are one confusion."
    half, total = 0, 0
    for pair in pairs:
        half, total = half + 1, total + pair.number
        if 2 * total >= summary.errors:
            break
    single = sum(pair.number == 1 for pair in pairs)
    if single > 0.8 * len(pairs):
        return f"The errors are scattered: {single:,} of {count(len(pairs), 'class pair')} occur only once."
    return f"{half:,} of {count(len(pairs), 'class pair')} make up half of the {count(summary.errors, 'error')}."
