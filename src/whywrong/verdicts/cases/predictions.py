"""Predictions of a run as aligned arrays, and a check that they are usable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from whywrong.core.errors import DataError, InputError
from whywrong.models.checks.labels_check import check_accuracy

SQL = """select item_id, image_id, key, label, predicted, same_as, confidence, true_confidence, rank_of_true,
    abs(margin) as margin, top5
    from predictions where status = 'ok' and label is not null and predicted is not null order by item_id"""
"""Selects what :func:`read_predictions` reads."""

_UNUSABLE = ("all wrong", "near chance", "label order")


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """Predictions of N labelled items, ordered by ``item_id``.

    Attributes:
        item_ids, image_ids, keys: Ids, content digests and names of the items.
        same_as: (N,) object, id of an earlier item with the same content and label; None for items without one.
        label, predicted: (N,) int64.
        confidence, true_confidence: (N,) float64, probability of the prediction and of the label; NaN without scores.
        rank: (N,) int64, rank of the label, 1 is the prediction; 0 without scores.
        margin: (N,) float64, logit of the prediction minus that of the label (for errors) or of the runner-up (for
            correct items); NaN without scores.
        runner_up: (N,) int64, class with the second largest score; -1 without scores.
        names: Names of the classes.
    """

    item_ids: np.ndarray
    image_ids: np.ndarray
    keys: np.ndarray
    same_as: np.ndarray
    label: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray
    true_confidence: np.ndarray
    rank: np.ndarray
    margin: np.ndarray
    runner_up: np.ndarray
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.item_ids)

    def at(self, rows: np.ndarray) -> Predictions:
        """Return the rows with the given indices, (M,) int64, or mask, (N,) bool."""
        chosen: dict[str, Any] = {one.name: getattr(self, one.name)[rows] for one in fields(self)[:-1]}
        return Predictions(**chosen, names=self.names)

    @property
    def wrong(self) -> np.ndarray:
        """(N,) bool, whether each item is misclassified."""
        return self.label != self.predicted

    @property
    def distinct(self) -> np.ndarray:
        """(N,) bool, whether each item is no duplicate of an earlier one."""
        return np.array([one is None for one in self.same_as], bool)


def read_predictions(rows: pa.Table, names: Sequence[str]) -> Predictions:
    """Convert the result of the query :data:`SQL`.

    Raises:
        DataError: No labelled item was predicted.
    """
    if not len(rows):
        raise DataError("the run has no predictions of labelled images; finish it with whywrong diagnose")
    text = {name: np.array(rows[name].to_pylist(), object) for name in ("item_id", "image_id", "key", "same_as")}
    top = rows["top5"].to_pylist()
    return Predictions(
        item_ids=text["item_id"],
        image_ids=text["image_id"],
        keys=text["key"],
        same_as=text["same_as"],
        label=_whole(rows["label"]),
        predicted=_whole(rows["predicted"]),
        confidence=rows["confidence"].to_numpy().astype(np.float64),
        true_confidence=rows["true_confidence"].to_numpy().astype(np.float64),
        rank=_whole(rows["rank_of_true"].fill_null(0)),
        margin=rows["margin"].to_numpy().astype(np.float64),
        runner_up=np.array([one[1] if one is not None and len(one) > 1 else -1 for one in top], np.int64),
        names=tuple(names),
    )


def check_usable(predictions: Predictions) -> None:
    """Raise an error if the accuracy shows that the labels are probably wrong.

    Raises:
        InputError: All images are misclassified, or about as many as by guessing.
    """
    predicted, label = (torch.from_numpy(one) for one in (predictions.predicted, predictions.label))
    for name, text in check_accuracy(predicted, label, len(predictions.names), predictions.names):
        if name in _UNUSABLE:
            raise InputError(
                f"{text}. No verdict is given; find the reason with `whywrong check MODEL DATA`, or ask for verdicts "
                "all the same with --force (force=True)"
            )


def _whole(column: pa.ChunkedArray) -> np.ndarray:
    return column.to_numpy().astype(np.int64)
