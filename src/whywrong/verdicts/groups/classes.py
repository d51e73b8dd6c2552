"""Table of the classes of a run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from whywrong.core.statistics import Interval, wilson
from whywrong.verdicts.groups.rows import Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassRow:
    """Figures of one class.

    Attributes:
        index: Class.
        name: Its name.
        n: Items with this label.
        recall: Share of them that are predicted as it, with its Wilson interval.
        precision: Share of the items predicted as it that have this label, with its Wilson interval.
        mean_confidence: Mean probability of its predictions; NaN if unknown or without predictions.
        errors_out: Its items predicted as another class.
        errors_in: Items of other classes predicted as it.
        confused_with: Class that most of its errors are predicted as; -1 without errors.
        confused: Number of these errors.
    """

    index: int
    name: str
    n: int
    recall: Interval
    precision: Interval
    mean_confidence: float
    errors_out: int
    errors_in: int
    confused_with: int
    confused: int


def class_table(rows: Rows) -> list[ClassRow]:
    """Return the figures of all classes that occur as a label or as a prediction, by class."""
    label, predicted, k = rows.label, rows.predicted, len(rows.classes)
    n, said = np.bincount(label, minlength=k), np.bincount(predicted, minlength=k)
    right = np.bincount(label[label == predicted], minlength=k)
    sure = np.bincount(predicted, weights=rows.confidence, minlength=k)
    wrong = label != predicted
    pairs, counts = np.unique(np.stack([label[wrong], predicted[wrong]]), axis=1, return_counts=True)
    most: dict[int, tuple[int, int]] = {}
    # The lowest class of equally frequent ones stays, as the pairs are sorted.
    for (true, other), count in zip(pairs.T.tolist(), counts.tolist(), strict=True):
        if count > most.get(true, (0, 0))[0]:
            most[true] = (count, other)
    table = []
    for index in ((n > 0) | (said > 0)).nonzero()[0].tolist():
        confused, other = most.get(index, (0, -1))
        table.append(
            ClassRow(
                index=index,
                name=rows.classes.names[index],
                n=int(n[index]),
                recall=wilson(int(right[index]), int(n[index])),
                precision=wilson(int(right[index]), int(said[index])),
                mean_confidence=float(sure[index] / said[index]) if said[index] else float("nan"),
                errors_out=int(n[index] - right[index]),
                errors_in=int(said[index] - right[index]),
                confused_with=other,
                confused=confused,
            )
        )
    return table
