"""Figures as plain data that the template draws: the distances to right, and where it goes wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from whywrong.report.numbers import count, percent, sig
from whywrong.report.summary import Facts
from whywrong.report.tables import Names

MATRIX_LIMIT = 30
EDGES = [2.0**power for power in range(-7, 9)]  # grey levels
FRACTIONS = {0.5: "½", 0.25: "¼", 0.125: "⅛"}


@dataclass(frozen=True, slots=True)
class Bin:
    """One bar: ``low`` to ``high`` in grey levels as text, errors in it, height as a share of the highest."""

    low: str
    high: str
    number: int
    height: float
    share: str


@dataclass(frozen=True, slots=True)
class Histogram:
    """How far the fixed errors are from right, in bins that double."""

    reading: str
    bins: list[Bin]


def distances(facts: Facts) -> Histogram | None:
    """The distances of all fixed errors; None for fewer than five, which the gallery shows as well."""
    values = facts.distances
    if values is None or len(values) < 5:
        return None
    low = max(0, int(np.searchsorted(EDGES, np.quantile(values, 0.01), side="right")) - 1)
    high = min(len(EDGES) - 1, max(low + 5, int(np.searchsorted(EDGES, np.quantile(values, 0.99), side="left"))))
    inner = EDGES[low + 1 : high]  # the outer bins are open
    numbers = np.bincount(np.searchsorted(inner, values, side="right"), minlength=len(inner) + 1)
    labels = ["0", *map(_edge, inner), "more"]
    bins = [
        Bin(labels[i], labels[i + 1], int(n), float(n / numbers.max()), percent(n / len(values)))
        for i, n in enumerate(numbers)
    ]
    below = int((values < 0.5).sum())
    reading = (
        f"{below:,} of {count(len(values), 'fixed error')} ({percent(below / len(values))}) are less than half a grey"
        " level from right: closer than two neighbouring values of an image file."
    )
    return Histogram(reading, bins)


def _edge(value: float) -> str:
    return FRACTIONS.get(value, sig(value) if value > 0.1 else f"1/{round(1 / value)}")


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of the matrix: images of the row's class read as the column's, shade 0 (none) to 6 (most)."""

    label: int
    predicted: int
    number: int
    shade: int


@dataclass(frozen=True, slots=True)
class Matrix:
    """Confusions of few classes: rows are labels, columns what they are read as."""

    names: list[str]
    rows: list[list[Cell]]


def matrix(facts: Facts, names: Names) -> Matrix | None:
    """The confusion matrix for at most 30 classes, shaded by the logarithm of the count; None otherwise."""
    if not 2 <= len(names) <= MATRIX_LIMIT or not facts.pairs:
        return None
    numbers = {(pair.label, pair.predicted): pair.number for pair in facts.pairs}
    most = max(numbers.values())

    def cell(label: int, predicted: int) -> Cell:
        n = numbers.get((label, predicted), 0)
        shade = 0 if n == 0 else 1 + round(5 * math.log(n) / math.log(most)) if most > 1 else 3
        return Cell(label, predicted, n, shade)

    size = range(len(names))
    return Matrix([names[i] for i in size], [[cell(label, predicted) for predicted in size] for label in size])


@dataclass(slots=True)
class Confusion:
    """One ranked pair with the shown errors that belong to it."""

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
    """The ranked pairs: a sentence, the first ones with pictures, the rest as rows."""

    reading: str
    first: list[Confusion]
    rest: list[Confusion]
    unlisted: int


def confusions(facts: Facts, names: Names, first: int = 12, listed: int = 200) -> Confusions:
    """Class pairs by how often they are confused."""
    pairs = facts.pairs
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
    return Confusions(_pairs_reading(facts), rows[:first], rows[first:], max(0, len(pairs) - listed))


def _pairs_reading(facts: Facts) -> str:
    pairs = facts.pairs
    if not pairs:
        return ""
    if len(pairs) == 1:
        return f"All {count(facts.errors, 'error')} are one confusion."
    half, total = 0, 0
    for pair in pairs:
        half, total = half + 1, total + pair.number
        if 2 * total >= facts.errors:
            break
    single = sum(pair.number == 1 for pair in pairs)
    if single > 0.8 * len(pairs):
        return f"The errors are scattered: {single:,} of {count(len(pairs), 'class pair')} occur only once."
    return f"{half:,} of {count(len(pairs), 'class pair')} make up half of the {count(facts.errors, 'error')}."
