"""Table of the classes of a run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from whywrong.core.statistics import Interval, wilson
from whywrong.verdicts.groups.rows import Rows


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassRow:
    """Statistics of one class.

    Attributes:
        index: Index of the class.
        name: Name of the class.
        n: Number of items with this label.
        recall: Share of these items that are predicted as the class, with its Wilson interval.
        precision: Share of the items predicted as the class that have its label, with its Wilson interval.
        mean_confidence: Mean probability of predictions of the class; NaN if unknown or without predictions.
        errors_out: Number of items of the class that are predicted as another class.
        errors_in: Number of items of other classes that are predicted as the class.
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
    """Compute the statistics of all classes that occur as a label or as a prediction."""
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
