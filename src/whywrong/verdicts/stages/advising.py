"""Measure the actions against the causes of groups in stored units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from whywrong.core.randomness import item_keys
from whywrong.data.sources.base import Entry
from whywrong.explain.analysis import AnalysisContext, AnalysisWorker
from whywrong.verdicts.advice import ACTIONS, Advice, advise
from whywrong.verdicts.advice.pictures import Pictures, make_pictures
from whywrong.verdicts.cases.cases import Cases
from whywrong.verdicts.groups import Group

MOST_ERRORS = 60
MOST_CORRECT = 100
MOST_GROUPS = 10


@dataclass(frozen=True, slots=True)
class AdviceUnit:
    """A group and the correct images that must stay correct.

    Attributes:
        cause: Cause of the group.
        restoration: Restoration of its damage; empty without one.
        errors, correct: Entries.
        label, predicted: (n,) int64, of the errors.
        sources: Photographs of the errors.
        boxes: (n, 4) float32, left, top, width and height of the mark; NaN without.
        level: (n,) float32, how unusual each error is in what the group shares; NaN if unknown.
        classes: (m,) int64, of the correct images.
        correct_sources: Photographs of the correct images.
        correct_level: (m,) float32, the same of the correct images.
        stands_for: Correct images of the run that each of them stands for.
        images: Name of the set of the correct images.
        seed: Seed of the draws.
    """

    cause: str
    restoration: str
    errors: tuple[Entry, ...]
    correct: tuple[Entry, ...]
    label: np.ndarray
    predicted: np.ndarray
    sources: tuple[str, ...]
    boxes: np.ndarray
    level: np.ndarray
    classes: np.ndarray
    correct_sources: tuple[str, ...]
    correct_level: np.ndarray
    stands_for: float
    images: str
    seed: int


@dataclass(frozen=True, slots=True)
class Advised:
    """Arms of the actions against the cause of one group."""

    arms: tuple[Advice, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """What the actions are measured on.

    Attributes:
        errors: All errors that were measured, in the order of the arrays.
        sources: Their photographs.
        boxes: (N, 4) left, top, width and height of recurring marks; NaN without.
        restoration: (N,) restoration of the damage that each error shows, or empty.
        level: (N,) strength of that damage; NaN without.
        correct: Correct images.
        correct_level: (M,) strength of the damage that each restoration treats, by its name.
        available: Number of correct images of the run.
        images: Name of their set.
        seed: Seed of the draws.
    """

    errors: Cases
    sources: tuple[str, ...]
    boxes: np.ndarray
    restoration: Sequence[str]
    level: np.ndarray
    correct: Cases
    correct_level: dict[str, np.ndarray]
    available: int
    images: str
    seed: int


def advice_on_groups(context: AnalysisContext, groups: Sequence[Group], material: Material) -> dict[int, list[Advice]]:
    """Measure the actions against the causes of the first groups.

    Returns:
        Arms by the place of a group; groups without an action that could be fitted are missing.
    """
    entries = context.entries(material.errors.item_ids)
    correct = context.entries(material.correct.item_ids, material.images)
    places = [at for at, group in enumerate(groups) if group.cause in ACTIONS][:MOST_GROUPS]
    units = [_unit(groups[at], material, entries, correct) for at in places]
    results = context.over("advice", advise_unit, units, settings=())
    return {at: list(one.arms) for at, one in zip(places, results, strict=True) if one.arms}


def advise_unit(worker: AnalysisWorker, unit: AdviceUnit) -> Advised:
    """Measure the actions of one group."""
    device = worker.classifier.device

    def pictures(
        entries: tuple[Entry, ...], images: str, y: np.ndarray, predicted: np.ndarray, sources: tuple[str, ...],
        level: np.ndarray, boxes: np.ndarray,
    ) -> Pictures | None:  # fmt: skip
        place = {entry.item_id: row for row, entry in enumerate(entries)}
        parts, rows = [], []
        for batch in worker.batches(entries, images):
            parts.append(batch.x)
            rows += [place[item.entry.item_id] for item in batch.items]
        if not rows:
            return None
        items = [entries[row].item_id for row in rows]
        return make_pictures(
            torch.cat(parts).to(device),
            torch.from_numpy(y[rows]).to(device),
            torch.from_numpy(predicted[rows]).to(device),
            tuple(sources[row] for row in rows),
            item_keys(unit.seed, items, "advice").to(device),
            boxes=torch.from_numpy(boxes[rows]).to(device),
            level=torch.from_numpy(level[rows]).to(device),
        )

    errors = pictures(
        unit.errors, "data", unit.label, unit.predicted, unit.sources, unit.level, unit.boxes
    )  # fmt: skip
    nothing = np.full((len(unit.correct), 4), np.nan, np.float32)
    correct = pictures(
        unit.correct, unit.images, unit.classes, unit.classes, unit.correct_sources, unit.correct_level, nothing
    )  # fmt: skip
    if errors is None or correct is None:
        return Advised(())
    found = advise(
        worker.classifier,
        errors,
        correct,
        unit.cause,
        restoration=unit.restoration,
        stands_for=unit.stands_for,
        seed=unit.seed,
    )
    return Advised(tuple(found))


def _unit(group: Group, material: Material, entries: Mapping[str, Entry], correct: Mapping[str, Entry]) -> AdviceUnit:
    place = {item: row for row, item in enumerate(material.errors.item_ids)}
    rows = [place[item] for item in group.members if item in place and item in entries][:MOST_ERRORS]
    restorations = [material.restoration[row] for row in rows if material.restoration[row]]
    restoration = max(dict.fromkeys(restorations), key=restorations.count) if restorations else ""
    others = [at for at, item in enumerate(material.correct.item_ids) if item in correct][:MOST_CORRECT]
    chosen, of_correct = material.errors.at(np.array(rows, np.int64)), material.correct.at(np.array(others, np.int64))
    unknown = np.full(len(material.correct), np.nan)
    level = np.where([material.restoration[row] == restoration for row in rows], material.level[rows], np.nan)
    return AdviceUnit(
        cause=group.cause,
        restoration=restoration,
        errors=tuple(entries[item] for item in chosen.item_ids),
        correct=tuple(correct[item] for item in of_correct.item_ids),
        label=chosen.label,
        predicted=chosen.predicted,
        sources=tuple(material.sources[row] for row in rows),
        boxes=material.boxes[rows].astype(np.float32),
        level=level.astype(np.float32),
        classes=of_correct.predicted,
        correct_sources=of_correct.image_ids,
        correct_level=material.correct_level.get(restoration, unknown)[others].astype(np.float32),
        stands_for=max(1.0, material.available / max(len(others), 1)),
        images=material.images,
        seed=material.seed,
    )
