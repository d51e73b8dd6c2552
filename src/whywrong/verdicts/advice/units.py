"""Measure actions for groups of errors in stored units of work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from whywrong.core.randomness import item_keys
from whywrong.data.outside import outside_views
from whywrong.data.sources.base import Entry
from whywrong.explain.analysis import AnalysisContext, AnalysisWorker
from whywrong.verdicts.advice.actions import ACTIONS
from whywrong.verdicts.advice.measure import Advice, advise
from whywrong.verdicts.advice.pictures import Pictures, make_pictures
from whywrong.verdicts.controls import logit_scale, margins
from whywrong.verdicts.damage import damage_level, diagnose_damage
from whywrong.verdicts.measured import Measured
from whywrong.verdicts.recurrence import Recurrence

MOST_ERRORS = 60  # of a group
MOST_CORRECT = 100
MOST_GROUPS = 10
_NEAREST = 5


@dataclass(frozen=True, slots=True)
class AdviceImages:
    """Misclassified or correct images of a unit.

    Attributes:
        entries: N entries of the data.
        y, predicted: (N,) int64, true and predicted classes.
        sources: N sources.
        boxes: (N, 4) float32, left, top, width and height of a mark as shares of the image; NaN if unknown.
        level: (N,) float32, see :class:`whywrong.verdicts.advice.pictures.Pictures`.
        images: Name of the image set.
    """

    entries: tuple[Entry, ...]
    y: np.ndarray
    predicted: np.ndarray
    sources: tuple[str, ...]
    boxes: np.ndarray
    level: np.ndarray
    images: str


@dataclass(frozen=True, slots=True)
class AdviceUnit:
    """A group of errors, with the correct images for the measurement of its actions.

    Attributes:
        group: Number of the group.
        cause: Cause of the group.
        restoration: Name of the restoration that undoes its damage; empty if there is none.
        errors: Errors of the group.
        correct: Correctly classified images.
        stands_for: Number of correct images of the run that each of these represents.
        seed: Seed of the split and of random choices.
    """

    group: int
    cause: str
    restoration: str
    errors: AdviceImages
    correct: AdviceImages
    stands_for: float
    seed: int


@dataclass(frozen=True, slots=True)
class AdvicePart:
    """Measured arms of the actions for a group; empty if no action could be fitted."""

    group: int
    arms: tuple[Advice, ...]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Run:
    """Errors and correct images of a run.

    Attributes:
        errors: Measurements of N errors, with pixel signs.
        reference: Measurements of correctly classified images in role play.
        recurrence: Recurring marks of the errors.
        entries: Entries of the errors, by item id.
        pool: Entries of the reference images, by item id.
        correct: Number of correct images in the run.
        images: Names of the image sets of the errors and of the reference.
        seed: Seed of the split and of random choices.
    """

    errors: Measured
    reference: Measured
    recurrence: Recurrence
    entries: Mapping[str, Entry]
    pool: Mapping[str, Entry]
    correct: int
    images: tuple[str, str] = ("data", "data")
    seed: int = 0


def advice_on_groups(
    context: AnalysisContext, step: str, run: Run, groups: Mapping[int, tuple[str, Sequence[int]]]
) -> dict[int, list[Advice]]:
    """Measure the actions against the causes of groups, in stored units of work.

    Args:
        context: Context of the analysis.
        step: Name of the step.
        run: The errors and the correct images.
        groups: Cause and error rows of each group, by group number.

        Returns:
            Arms by group number; groups for which no action could be fitted are missing.
    """
    parts = context.over(step, measure_advice, plan_advice(run, groups), settings=())
    return {part.group: list(part.arms) for part in parts if part.arms}


def plan_advice(run: Run, groups: Mapping[int, tuple[str, Sequence[int]]]) -> list[AdviceUnit]:
    """Plan the measurement for the first ten groups whose cause has an action.

    Args:
        run: The errors and the correct images.
        groups: Cause and error rows of each group, by group number.
    """
    damage = diagnose_damage(run.errors, run.reference)
    boxes = np.concatenate([run.recurrence.place[:, :2], run.recurrence.place[:, 2:] - run.recurrence.place[:, :2]], 1)
    chosen = np.array([row for row, item in enumerate(run.reference.item_ids) if item in run.pool][:MOST_CORRECT], int)
    found = []
    for number, (cause, members) in groups.items():
        rows = np.array([row for row in members if run.errors.item_ids[row] in run.entries][:MOST_ERRORS], int)
        if cause not in ACTIONS or not len(rows) or not len(chosen) or len(found) == MOST_GROUPS:
            continue
        restoration = _most_frequent([damage[row] for row in rows]) if cause == "corruption" else ""
        level, usual = _levels(cause, restoration, run)
        unknown = np.full((len(chosen), 4), np.nan)
        errors = _images(run.errors.at(rows), run.entries, boxes[rows], level[rows], run.images[0])
        correct = _images(run.reference.at(chosen), run.pool, unknown, usual[chosen], run.images[1], right=True)
        weight = max(1.0, run.correct / len(chosen))
        found.append(AdviceUnit(number, cause, restoration, errors, correct, weight, run.seed))
    return found


def measure_advice(worker: AnalysisWorker, unit: AdviceUnit) -> AdvicePart:
    """Measure the actions for the readable errors of a unit."""
    whole = unit.cause == "occluded"
    errors, correct = (_load(worker, images, unit.seed, whole=whole) for images in (unit.errors, unit.correct))
    if errors is None or correct is None:
        return AdvicePart(unit.group, ())
    arms = advise(
        worker.classifier,
        errors,
        correct,
        unit.cause,
        restoration=unit.restoration,
        stands_for=unit.stands_for,
        seed=unit.seed,
    )
    return AdvicePart(unit.group, tuple(arms))


def _images(
    measured: Measured,
    entries: Mapping[str, Entry],
    boxes: np.ndarray,
    level: np.ndarray,
    images: str,
    *,
    right: bool = False,
) -> AdviceImages:
    return AdviceImages(
        tuple(entries[item] for item in measured.item_ids),
        measured.predicted if right else measured.label,
        measured.predicted,
        measured.sources,
        boxes.astype(np.float32),
        level.astype(np.float32),
        images,
    )


def _load(worker: AnalysisWorker, images: AdviceImages, seed: int, *, whole: bool) -> Pictures | None:
    """Return the images that can be read, on the device of the classifier; None if there are none.

    With ``whole``, they come with the whole photographs of which the model sees a crop.
    """
    place = {entry.item_id: row for row, entry in enumerate(images.entries)}
    parts, kept, wholes, crops = [], [], [], []
    for batch in worker.batches(images.entries, images.images):
        parts.append(batch.x)
        kept += [place[item.entry.item_id] for item in batch.items]
        if whole and batch.items:
            views, there = outside_views(batch.items, corners=False)
            wholes.append(torch.from_numpy(views[:, 0]).float() / 255)
            wholes[-1][torch.from_numpy(~there)] = torch.nan
            crops.append(torch.tensor([item.geometry.crop_share for item in batch.items], dtype=torch.float32))
    if not kept:
        return None
    device, rows = worker.classifier.device, np.array(kept)
    keys = item_keys(seed, [images.entries[row].item_id for row in kept], "advice")
    y, predicted, boxes, level = (
        torch.from_numpy(values[rows]).to(device) for values in (images.y, images.predicted, images.boxes, images.level)
    )
    sources = tuple(images.sources[row] for row in kept)
    x = torch.cat(parts).to(device)
    known = {"boxes": boxes, "level": level}
    if whole:
        known |= {"whole": torch.cat(wholes).to(device), "crop": torch.cat(crops).to(device)}
    return make_pictures(x, y, predicted, sources, keys.to(device), **known)


def _levels(cause: str, restoration: str, run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Return how unusual errors (N,) and correct images (R,) are in what matters for a cause; NaN if unknown."""
    errors, reference = run.errors, run.reference
    if cause == "corruption" and restoration:
        return damage_level(errors, reference, restoration), damage_level(reference, reference, restoration)
    if cause == "confusion":
        scale = logit_scale(reference)
        return -margins(errors, scale), -margins(reference, scale)
    if cause == "shift" and reference.features.shape[1]:
        return _distance(errors, reference), _distance(reference, reference)
    return np.full(len(errors), np.nan), np.full(len(reference), np.nan)


def _distance(images: Measured, reference: Measured) -> np.ndarray:
    """Return the mean distance to the five nearest correct images of other sources, features of length 1."""
    own, theirs = (_unit(measured.features.astype(np.float64)) for measured in (images, reference))
    names = {name: at for at, name in enumerate(dict.fromkeys((*images.sources, *reference.sources)))}
    away = 1 - own @ theirs.T
    number, other = (np.array([names[name] for name in measured.sources]) for measured in (images, reference))
    away[number[:, None] == other[None]] = np.inf
    nearest = np.sort(away, axis=1)[:, :_NEAREST]
    return np.where(np.isfinite(nearest).all(1), nearest.mean(1), np.nan)


def _unit(features: np.ndarray) -> np.ndarray:
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def _most_frequent(names: Sequence[str]) -> str:
    known = [name for name in names if name]
    return max(dict.fromkeys(known), key=known.count) if known else ""
