"""Table of all classes, with recall, precision, confidence and errors."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

from whywrong.core.statistics import Interval, wilson
from whywrong.report.numbers import count, interval, known, percent
from whywrong.report.primitives.run_summary import RunSummary
from whywrong.report.tables import Names, Tables


@dataclass(frozen=True, slots=True)
class Value:
    """A cell, with its text, a note under it, and its sort value."""

    text: str
    note: str
    order: float


@dataclass(frozen=True, slots=True)
class ClassRow:
    """A class with its cells, in the order of :data:`COLUMNS`."""

    index: int
    name: str
    cells: list[Value]


@dataclass(frozen=True, slots=True)
class ClassTable:
    """Rows of the classes, most errors first; only the first rows are outside the fold."""

    reading: str
    first: list[ClassRow]
    rest: list[ClassRow]


COLUMNS = (
    ("images", "labelled images of the class"),
    ("recall", "share of the images of the class that are predicted as the class"),
    ("precision", "share of the images predicted as the class that belong to it"),
    ("confidence", "mean confidence over the images predicted as the class"),
    ("errors out", "images of the class that are predicted as another class"),
    ("errors in", "images of other classes that are predicted as the class"),
    ("most often predicted as", "the class as which most errors of the class are predicted"),
)


def class_table(tables: Tables, summary: RunSummary, names: Names, shown: int = 10) -> ClassTable | None:
    """Build the table of the classes that occur in the run.

    Returns None without a labelled image.

    Args:
        shown: Largest number of rows outside the fold.
    """
    if not summary.labelled:
        return None
    labelled = f"from {tables.counts('pairs')} where status = 'ok' and label is not null"
    counted = tables.rows(f"select label, sum(images)::bigint as n {labelled} group by label")
    images = {row["label"]: row["n"] for row in counted}
    answers = {
        row["predicted"]: row
        for row in tables.rows(
            "select predicted, sum(images)::bigint as n,"
            f" sum(confidence_sum) / nullif(sum(confidences), 0) as confidence {labelled} group by predicted"
        )
    }
    into: Counter[int] = Counter()
    out: dict[int, Counter[int]] = defaultdict(Counter)
    for pair in summary.pairs:
        into[pair.predicted] += pair.number
        out[pair.label][pair.predicted] += pair.number
    rows = []
    for index in sorted(images.keys() | answers.keys()):
        n, left = images.get(index, 0), out[index].total()
        answered = answers.get(index)
        predicted = answered["n"] if answered is not None else 0
        rows.append(
            ClassRow(
                index,
                names[index],
                [
                    Value(f"{n:,}", "", n),
                    _share(wilson(n - left, n)),
                    _share(wilson(predicted - into[index], predicted)),
                    _confidence(answered["confidence"] if answered is not None else None),
                    Value(f"{left:,}", "", left),
                    Value(f"{into[index]:,}", "", into[index]),
                    _most(out[index], names),
                ],
            )
        )
    rows.sort(key=lambda row: (-row.cells[4].order - row.cells[5].order, row.index))
    if len(rows) <= shown + 3:  # a fold of three rows hides nothing worth a click
        shown = len(rows)
    return ClassTable(_reading(rows, summary), rows[:shown], rows[shown:])


def _share(found: Interval) -> Value:
    if not known(found.value):
        return Value("–", "", -1.0)
    return Value(percent(found.value), interval(found), found.value)


def _confidence(value: float | None) -> Value:
    return Value("–", "", -1.0) if value is None or not known(value) else Value(percent(value), "", value)


def _most(into: Counter[int], names: Names) -> Value:
    if not into:
        return Value("–", "", 0)
    index, number = min(into.items(), key=lambda item: (-item[1], item[0]))
    return Value(names[index], f"{number:,} of {into.total():,}", number)


def _reading(rows: list[ClassRow], summary: RunSummary) -> str:
    with_images = [row for row in rows if row.cells[0].order]
    worst = min(with_images, key=lambda row: (row.cells[1].order, -row.cells[0].order))
    clean = sum(row.cells[4].order == 0 for row in with_images)
    if len(with_images) == 1:
        return f"All labelled images are of one class, {worst.name}."
    if not summary.errors:
        return f"No image of the {count(len(with_images), 'class', 'classes')} is misclassified."
    text = (
        f"{worst.name} has the lowest recall: {worst.cells[1].text} of {count(int(worst.cells[0].order), 'image')}"
        f" (95 % interval {worst.cells[1].note})."
    )
    if clean:
        text += f" {count(clean, 'class', 'classes')} {'has' if clean == 1 else 'have'} no error."
    return text
