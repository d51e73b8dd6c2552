"""Give the suspected cause of an error to correct images, in stored units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whywrong.core.randomness import item_keys
from whywrong.data.sources.base import Entry
from whywrong.explain.analysis import AnalysisContext, AnalysisWorker
from whywrong.explain.interventions.boxes import cover_box
from whywrong.explain.interventions.giving import RECEIVERS, GivenShares, give_cover, give_mark
from whywrong.verdicts.cases.cases import Cases
from whywrong.verdicts.tests_of_causes import Given

GIVEN = ("spurious", "occluded")
"""Causes that are tested by giving them to other images."""

DONORS = 8
_SIZE = 16
_LEAST_SIDE = 16  # pixels; smaller images have no box of a cover


@dataclass(frozen=True, slots=True)
class GiveUnit:
    """Errors and the correct images that get what is suspected in them.

    Attributes:
        cause: One of :data:`GIVEN`.
        entries: Entries of the errors.
        label, predicted: (N,) int64, their classes.
        boxes: (N, 4) float32, left, top, width and height of the suspected part as shares; NaN if unknown.
        pool: Entries of the correct images.
        classes: (R,) int64, their classes.
        images, pool_images: Names of the sets.
        seed: Seed of the draws.
    """

    cause: str
    entries: tuple[Entry, ...]
    label: np.ndarray
    predicted: np.ndarray
    boxes: np.ndarray
    pool: tuple[Entry, ...]
    classes: np.ndarray
    images: str
    pool_images: str
    seed: int


@dataclass(frozen=True, slots=True)
class Receivers:
    """Correct images that get the causes.

    Attributes:
        cases: The images, whose ``predicted`` is their class.
        images: Name of their set.
        seed: Seed of the draws.
    """

    cases: Cases
    images: str
    seed: int


@dataclass(frozen=True, slots=True)
class GivePart:
    """Result for the errors of a unit that could be read; the arrays are those of :class:`GivenShares`."""

    item_ids: tuple[str, ...]
    share: np.ndarray
    control: np.ndarray
    wins: np.ndarray
    losses: np.ndarray
    forwards: np.ndarray


def give(
    context: AnalysisContext,
    cause: str,
    cases: Cases,
    rows: np.ndarray,
    boxes: np.ndarray,
    receivers: Receivers,
) -> tuple[Given, np.ndarray]:
    """Give a cause of some errors to correct images.

    Args:
        context: Of the analysis.
        cause: One of :data:`GIVEN`.
        cases: All N errors.
        rows: (M,) int64, those whose cause is given.
        boxes: (N, 4) left, top, width and height of the suspected part as shares; NaN if unknown.
        receivers: Correct images.

    Returns:
        The result for all N errors, NaN for those that were not tested, and forward passes (N,) int64.
    """
    correct, images, seed = receivers.cases, receivers.images, receivers.seed
    entries = context.entries(cases.item_ids)
    pool_entries = context.entries(correct.item_ids, images)
    rows = np.array([row for row in rows if cases.item_ids[row] in entries], np.int64)
    units = []
    for start in range(0, len(rows), _SIZE):
        some = rows[start : start + _SIZE]
        chosen = _pool(cause, cases.at(some), correct, pool_entries, seed + start)
        units.append(
            GiveUnit(
                cause,
                tuple(entries[cases.item_ids[row]] for row in some),
                cases.label[some],
                cases.predicted[some],
                boxes[some].astype(np.float32),
                tuple(pool_entries[correct.item_ids[at]] for at in chosen),
                correct.predicted[chosen],
                "data",
                images,
                seed,
            )
        )
    found = {name: np.full(len(cases), np.nan) for name in ("share", "control", "wins", "losses")}
    passes = np.zeros(len(cases), np.int64)
    place = {item: row for row, item in enumerate(cases.item_ids)}
    for part in context.over(f"give {cause}", give_unit, units, settings=()):
        at = [place[item] for item in part.item_ids]
        for name, values in found.items():
            values[at] = getattr(part, name)
        passes[at] = part.forwards
    name = {"spurious": "give_mark", "occluded": "give_cover"}[cause]
    return Given(**found, edits=RECEIVERS, name=name), passes


def give_unit(worker: AnalysisWorker, unit: GiveUnit) -> GivePart:
    """Give the cause of each error of a unit to the correct images of the unit."""
    classifier = worker.classifier
    x, kept = _load(worker, unit.entries, unit.images)
    pool, pool_kept = _load(worker, unit.pool, unit.pool_images)
    items = tuple(unit.entries[row].item_id for row in kept)
    if not len(kept) or not len(pool_kept):
        nothing = np.full(len(items), np.nan)
        return GivePart(items, nothing, nothing, nothing, nothing, np.zeros(len(items), np.int64))
    device = classifier.device
    label, predicted = (torch.from_numpy(values[kept]).to(device) for values in (unit.label, unit.predicted))
    classes = torch.from_numpy(unit.classes[pool_kept]).to(device)
    boxes = torch.from_numpy(unit.boxes[kept]).to(device)
    keys = item_keys(unit.seed, items, "give").to(device)
    common = {"pool": pool, "keys": keys}
    if unit.cause == "spurious":
        receivers = _rows(classes[None, :] != predicted[:, None], RECEIVERS, keys)
        donors = _rows(classes[None, :] == predicted[:, None], DONORS, keys, fewer=True)
        result = give_mark(classifier, x, predicted, boxes, receivers=receivers, donors=donors, **common)
    else:
        boxes = cover_box(x) if min(x.shape[2:]) >= _LEAST_SIDE else torch.full_like(boxes, torch.nan)
        receivers = _rows(classes[None, :] == label[:, None], RECEIVERS, keys)
        result = give_cover(classifier, x, label, boxes, receivers=receivers, **common)
    return _part(items, result)


def boxes_of_places(places: np.ndarray) -> np.ndarray:
    """Convert left, top, right and bottom (N, 4) to left, top, width and height."""
    return np.concatenate([places[:, :2], places[:, 2:] - places[:, :2]], axis=1)


def _pool(cause: str, errors: Cases, correct: Cases, listed: Mapping[str, Entry], seed: int) -> np.ndarray:
    """Choose the correct images of a unit, (R,) int64, in an order drawn from the seed."""
    order = np.random.default_rng(seed).permutation(len(correct))
    order = np.array([at for at in order if correct.item_ids[at] in listed], np.int64)
    classes = correct.predicted[order]
    chosen: list[int] = []
    if cause == "spurious":
        for index in np.unique(errors.predicted):
            chosen += order[classes != index][:RECEIVERS].tolist() + order[classes == index][:DONORS].tolist()
    else:
        for index in np.unique(errors.label):
            chosen += order[classes == index][:RECEIVERS].tolist()
    return np.array(sorted(set(chosen)), np.int64)


def _load(worker: AnalysisWorker, entries: Sequence[Entry], images: str) -> tuple[Tensor, list[int]]:
    """Return the images that can be read, on the device of the classifier, and their rows."""
    place = {entry.item_id: row for row, entry in enumerate(entries)}
    parts, kept = [], []
    for batch in worker.batches(entries, images):
        parts.append(batch.x)
        kept += [place[item.entry.item_id] for item in batch.items]
    if not kept:
        return torch.zeros(0), []
    return torch.cat(parts).to(worker.classifier.device), kept


def _rows(allowed: Tensor, count: int, keys: Tensor, *, fewer: bool = False) -> Tensor:
    """Choose ``count`` allowed columns of each row (B, R), in an order drawn from the keys.

    Returns:
        (B, count) int64; all -1 if there are too few. With ``fewer``, what there is is repeated.
    """
    found = torch.full((len(allowed), count), -1, dtype=torch.int64, device=allowed.device)
    for row, key in enumerate(keys.tolist()):
        columns = allowed[row].nonzero().flatten()
        if len(columns) >= count or (fewer and len(columns)):
            start = key % len(columns)
            found[row] = columns[(start + torch.arange(count, device=columns.device)) % len(columns)]
    return found


def _part(items: tuple[str, ...], result: GivenShares) -> GivePart:
    columns = (result.share, result.control, result.wins, result.losses, result.forwards)
    return GivePart(items, *(column.cpu().numpy() for column in columns))
