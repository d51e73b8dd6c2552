"""Selection of errors, reference images and controls from the predictions of a run."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from whywrong.core.errors import InputError
from whywrong.verdicts.cases.predictions import Predictions


@dataclass(frozen=True, slots=True, eq=False)
class Cases:
    """Images to measure, each with the class that edits should restore.

    Attributes:
        item_ids: Item ids.
        image_ids: Digest of the image content that was classified.
        label: (N,) int64, class to restore: the label of an error, or the runner-up of a reference image.
        predicted: (N,) int64.
    """

    item_ids: tuple[str, ...]
    image_ids: tuple[str, ...]
    label: np.ndarray
    predicted: np.ndarray

    def __len__(self) -> int:
        return len(self.item_ids)

    def at(self, rows: np.ndarray) -> Cases:
        """Return the cases with the given indices, (M,) int64, or mask, (N,) bool."""
        chosen = np.arange(len(self))[rows]
        return Cases(
            tuple(self.item_ids[row] for row in chosen),
            tuple(self.image_ids[row] for row in chosen),
            self.label[chosen],
            self.predicted[chosen],
        )


def errors_of(predictions: Predictions) -> Cases:
    """Return the misclassified items without duplicates."""
    return _cases(predictions.at(predictions.wrong & predictions.distinct))


def correct_of(predictions: Predictions) -> Cases:
    """Return the correct items without duplicates, with their class as ``label``."""
    return _cases(predictions.at(~predictions.wrong & predictions.distinct))


def reference_of(predictions: Predictions, errors: int, *, most: int, least: int, seed: int) -> Cases:
    """Choose correct items for role play, spread over the classes.

    The items of each class are in random order, and the classes take turns.

    Args:
        predictions: All labelled items.
        errors: Number of errors; three times as many items are chosen.
        most: Largest number of items.
        least: Smallest number of items for few errors, as far as available.
        seed: Seed of the random order.
    """
    count = min(most, max(least, 3 * errors))
    right = predictions.at(~predictions.wrong & predictions.distinct)
    if len(right) == 0:
        return _cases(right)
    draw = _draw(right, seed)
    order = np.argsort(draw, kind="stable")
    turn = np.zeros(len(right), np.int64)
    seen: dict[int, int] = {}
    for row in order:
        index = int(right.label[row])
        turn[row] = seen.get(index, 0)
        seen[index] = seen.get(index, 0) + 1
    chosen = sorted(np.lexsort((draw, turn))[:count])
    return _in_role_play(right.at(np.array(chosen)), predictions, seed)


def controls_of(
    predictions: Predictions,
    margin: np.ndarray,
    reference: Cases,
    *,
    reach: float,
    wanted: int,
    most: int,
    seed: int,
) -> Cases:
    """Choose further correct items whose margins are near those of errors.

    The order is random. An item is chosen if some error has fewer than the wanted number of items within reach.

    Args:
        predictions: All labelled items.
        margin: (N,) margins of the errors in logits; errors with NaN get no controls.
        reference: Items that were chosen before.
        reach: Largest difference of margins in logits.
        wanted: Number of items for each error, including the reference.
        most: Largest number of items.
        seed: Seed of the random order.
    """
    right = predictions.at(~predictions.wrong & predictions.distinct & np.isfinite(predictions.margin))
    margin = np.sort(margin[np.isfinite(margin)])
    first = np.searchsorted(margin, right.margin - reach, "left")
    last = np.searchsorted(margin, right.margin + reach, "right")
    missing = np.full(len(margin), wanted)
    there = np.isin(right.item_ids.astype(str), np.array(reference.item_ids, str))
    for row in np.flatnonzero(there):
        missing[first[row] : last[row]] -= 1
    chosen: list[int] = []
    for row in np.argsort(_draw(right, seed), kind="stable"):
        if len(chosen) == most or not (missing > 0).any():
            break
        if not there[row] and (missing[first[row] : last[row]] > 0).any():
            chosen.append(int(row))
            missing[first[row] : last[row]] -= 1
    return _in_role_play(right.at(np.array(sorted(chosen), np.int64)), predictions, seed)


def _draw(rows: Predictions, seed: int) -> np.ndarray:
    """Return a key (N,) that orders items at random."""
    return np.array([hashlib.sha256(f"{seed} {item}".encode()).hexdigest() for item in rows.item_ids], str)


def _in_role_play(picked: Predictions, predictions: Predictions, seed: int) -> Cases:
    other = _other_class(predictions, picked.predicted, picked.item_ids, seed)
    runner_up = np.where(picked.runner_up >= 0, picked.runner_up, other)
    return Cases(tuple(picked.item_ids), tuple(picked.image_ids), runner_up, picked.predicted)


def _other_class(predictions: Predictions, predicted: np.ndarray, item_ids: np.ndarray, seed: int) -> np.ndarray:
    """Choose the class of role play without scores, among the labels of errors with the same prediction."""
    classes = len(predictions.names)
    if classes < 2:
        raise InputError("the model has one class, so there is no other class that an image could belong to")
    wrong = predictions.at(predictions.wrong)
    found = []
    for index, item in zip(predicted.tolist(), item_ids, strict=True):
        labels = np.sort(wrong.label[wrong.predicted == index])
        if not len(labels):
            labels = np.setdiff1d(np.arange(classes), [index])
        found.append(labels[int(hashlib.sha256(f"{seed} {item} other".encode()).hexdigest()[:12], 16) % len(labels)])
    return np.array(found, np.int64)


def _cases(rows: Predictions) -> Cases:
    return Cases(tuple(rows.item_ids), tuple(rows.image_ids), rows.label, rows.predicted)
