"""Find the groups of the errors of a run, and test the causes that their errors share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from whywrong.core.classes import ClassList
from whywrong.verdicts.cases.predictions import Predictions
from whywrong.verdicts.groups import Group, Rows, clusters, free_groups, mark_groups
from whywrong.verdicts.groups.duplicates import duplicates
from whywrong.verdicts.groups.exposure import damaged_exposure
from whywrong.verdicts.groups.placeholders import placeholders
from whywrong.verdicts.measured import Measured
from whywrong.verdicts.recurrence import Recurrence
from whywrong.verdicts.stages.units import Taken
from whywrong.verdicts.tests_of_causes import CauseTest, CauseTests
from whywrong.verdicts.tests_of_groups import pool_tests

WITH_PICTURES = (placeholders, duplicates, damaged_exposure)
"""Kinds of groups that compare pictures, of which only errors and reference images have some."""

_OF_PICTURES = ("placeholder", "dark", "overexposed", "blurred")
_FACTS = ("placeholder", "duplicates")  # seen in the pictures and labels alone, whatever the model
_EXPLAINED = 2 / 3  # of a suspected group, by supported ones
TESTABLE = ("corruption", "adversarial", "spurious", "occluded")


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """What was measured of errors and of correct images, for groups.

    Attributes:
        errors: Errors, after the first stage.
        correct: Reference images; of no images without a reference.
        error_pictures, correct_pictures: As in :class:`whywrong.verdicts.stages.units.Part`.
        error_boxes, correct_boxes: The same.
        weights: (K, D) weights of the last layer; (0, 0) without.
    """

    errors: Measured
    correct: Measured
    error_pictures: np.ndarray
    correct_pictures: np.ndarray
    error_boxes: np.ndarray
    correct_boxes: np.ndarray
    weights: np.ndarray

    @classmethod
    def of(cls, errors: Taken, correct: Taken | None, weights: np.ndarray) -> Seen | None:
        """Collect what two steps measured; None if no error could be read."""
        if errors.measured is None:
            return None
        if correct is None or correct.measured is None:
            nothing = np.zeros(0, np.int64)
            parts = errors.measured.at(nothing), errors.pictures[:0], errors.boxes[:0]
        else:
            parts = correct.measured, correct.pictures, correct.boxes
        return cls(errors.measured, parts[0], errors.pictures, parts[1], errors.boxes, parts[2], weights)


@dataclass(frozen=True, slots=True, eq=False)
class Combined:
    """What all stages measured of errors and reference images, and the causes that follow.

    Attributes:
        errors: N errors.
        reference: Correct images in role play.
        probability: (N, 8) probabilities of :data:`whywrong.verdicts.causes.CLASSES`.
    """

    errors: Measured
    reference: Measured
    probability: np.ndarray


def find_groups(
    predictions: Predictions, seen: Seen | None, recurrence: Recurrence | None, combined: Combined | None = None
) -> list[Group]:
    """Find groups from stored predictions and from what was measured.

    Args:
        predictions: All labelled items.
        seen: Measurements; None without any.
        recurrence: Recurring content of the errors; None without.
        combined: Probabilities of causes, inside which errors are clustered; None without.
    """
    rows = _all_rows(predictions, seen)
    groups = [group for group in free_groups(rows) if group.kind not in _OF_PICTURES]
    if seen is not None and seen.error_pictures.shape[-1]:
        compared = _seen_rows(predictions, seen)
        total = len(rows.wrong)
        of_pictures = [group for kind in WITH_PICTURES for group in kind(compared)]
        copied = {item for group in groups if group.kind == "duplicates" for item in group.members}
        fresh = [one for one in of_pictures if one.kind != "duplicates" or not copied.issuperset(one.members)]
        groups = [replace(group, share=group.size / total) for group in fresh] + groups
    if seen is not None and recurrence is not None:
        groups = mark_groups(rows, seen.errors, recurrence) + groups
    if combined is not None and len(combined.reference):
        marked = [item for group in groups if group.kind == "mark" for item in group.members]
        groups += clusters(rows, combined.errors, combined.reference, combined.probability, marked)
    return groups


def test_groups(groups: Sequence[Group], tests: CauseTests, seed: int) -> tuple[list[Group], list[CauseTest | None]]:
    """Test the cause of each group with the pooled effect of its errors.

    Returns:
        The groups, no longer suspected if their test supports them, and their tests; None without one.
    """
    place = {item: row for row, item in enumerate(tests.errors.item_ids)}
    tested, found = [], []
    for group in groups:
        rows = [place[item] for item in group.members if item in place]
        test = pool_tests(tests, rows, group.cause, seed=seed) if group.cause in TESTABLE and rows else None
        supported = test is not None and test.outcome == "supported"
        tested.append(replace(group, suspected=group.suspected and not supported))
        found.append(test)
    return tested, found


def order_groups(groups: Sequence[Group], mended: Mapping[int, float]) -> list[int]:
    """Order groups, supported ones first, then by the errors that their advised action corrects, then by size.

    Of the suspected groups, those that are facts about the images come first, even if they are small, and those whose
    errors supported groups mostly explain come last.

    Args:
        groups: All groups.
        mended: Share of the held-out errors that the advised action of a group corrects, by the place of the group.
    """
    explained = {item for group in groups if not group.suspected for item in group.members}

    def rank(at: int) -> tuple[bool, bool, bool, float, int, int]:
        group = groups[at]
        is_told = group.suspected and len(explained.intersection(group.members)) > _EXPLAINED * group.size
        is_guess = group.suspected and group.kind not in _FACTS
        return group.suspected, is_told, is_guess, -mended.get(at, 0.0) * group.size, -group.size, at

    return sorted(range(len(groups)), key=rank)


def _all_rows(predictions: Predictions, seen: Seen | None) -> Rows:
    """Return all labelled items; measurements are NaN where there are none."""
    count = len(predictions)
    more: dict[str, np.ndarray] = {}
    sources = predictions.image_ids.copy()
    if seen is not None:
        place = {item: row for row, item in enumerate(predictions.item_ids)}
        for item, source in zip(seen.errors.item_ids, seen.errors.sources, strict=True):
            if item in place:
                sources[place[item]] = source
        parts = [
            (measured, boxes, [(place[item], at) for at, item in enumerate(measured.item_ids) if item in place])
            for measured, boxes in ((seen.errors, seen.error_boxes), (seen.correct, seen.correct_boxes))
        ]
        width = seen.errors.features.shape[1]
        features, sharpness = np.full((count, width), np.nan, np.float32), np.full(count, np.nan, np.float32)
        object_box = np.full((count, 4), np.nan, np.float32)
        for measured, boxes, pairs in parts:
            if pairs:
                rows, at = (np.array(column) for column in zip(*pairs, strict=True))
                features[rows], object_box[rows] = measured.features[at], boxes[at]
                sharpness[rows] = measured.sign("sharpness")[at]
        more = {"sharpness": sharpness, "object_box": object_box}
        if width and seen.weights.shape[1] == width:
            more |= {"features": features, "weights": seen.weights}
    return Rows(
        item_ids=tuple(predictions.item_ids),
        sources=tuple(sources),
        label=predictions.label,
        predicted=predictions.predicted,
        confidence=predictions.confidence,
        true_confidence=predictions.true_confidence,
        rank=predictions.rank,
        classes=ClassList(predictions.names),
        **more,
    )


def _seen_rows(predictions: Predictions, seen: Seen) -> Rows:
    """Return the errors and the correct images of which there are pictures."""
    place = {item: row for row, item in enumerate(predictions.item_ids)}
    errors = [at for at, item in enumerate(seen.errors.item_ids) if item in place]
    correct = [at for at, item in enumerate(seen.correct.item_ids) if item in place]
    items = [seen.errors.item_ids[at] for at in errors] + [seen.correct.item_ids[at] for at in correct]
    rows = _all_rows(predictions.at(np.array([place[item] for item in items], np.int64)), seen)
    pictures = np.concatenate([seen.error_pictures[errors], seen.correct_pictures[correct]])
    return replace(rows, pictures=pictures)
