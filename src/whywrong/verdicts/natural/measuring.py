"""Measure the signs of the rules in stored units."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whywrong.core.errors import ModelRaisedError, NonFiniteError
from whywrong.data.batches import Batch
from whywrong.data.outside import outside_views
from whywrong.data.sources.base import Entry
from whywrong.explain.analysis import AnalysisContext, AnalysisWorker
from whywrong.verdicts.cases.cases import Cases
from whywrong.verdicts.natural.maps import CORNERS, MAP_SIGNS, PARTS, WHOLE, map_signs

_SIZE = 16


@dataclass(frozen=True, slots=True)
class MapUnit:
    """Images to be measured.

    Attributes:
        entries: Their entries.
        label: (N,) int64, class asked for.
        logits: (N, K) float32.
        images: Name of their set.
        parts: Which of :data:`PARTS` are measured.
        place: (N, 2) float32, of the strongest evidence, where the maps are not among the parts.
    """

    entries: tuple[Entry, ...]
    label: np.ndarray
    logits: np.ndarray
    images: str
    parts: tuple[str, ...] = PARTS
    place: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class MapPart:
    """Signs (M, 7) and passes (M,) of the images that could be measured."""

    item_ids: tuple[str, ...]
    signs: np.ndarray
    forwards: np.ndarray
    backwards: np.ndarray


def measure_maps(
    context: AnalysisContext,
    step: str,
    cases: Cases,
    logits: np.ndarray,
    images: str,
    parts: tuple[str, ...] = PARTS,
    place: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Measure :data:`MAP_SIGNS` of cases.

    Args:
        context: Of the analysis.
        step: Name of the step.
        cases: N images with the class asked for.
        logits: (N, K) float32.
        images: Name of their set.
        parts: Which of :data:`PARTS` are measured.
        place: (N, 2) float32, of the strongest evidence, where the maps are not among the parts.

    Returns:
        (N, 7) float32, NaN where a part is not asked for or an image cannot be measured; and forward
        and backward passes (N,) int64.
    """
    entries = context.entries(cases.item_ids, images)
    rows = [row for row, item in enumerate(cases.item_ids) if item in entries]
    units = []
    for start in range(0, len(rows), _SIZE):
        some = rows[start : start + _SIZE]
        of_unit = tuple(entries[cases.item_ids[row]] for row in some)
        there = None if place is None else place[some]
        units.append(MapUnit(of_unit, cases.label[some], logits[some], images, parts, there))
    signs = np.full((len(cases), len(MAP_SIGNS)), np.nan, np.float32)
    forwards, backwards = np.zeros(len(cases), np.int64), np.zeros(len(cases), np.int64)
    of_item = {item: row for row, item in enumerate(cases.item_ids)}
    for part in context.over(step, map_unit, units, settings=()):
        at = [of_item[item] for item in part.item_ids]
        signs[at], forwards[at], backwards[at] = part.signs, part.forwards, part.backwards
    return signs, forwards, backwards


def map_unit(worker: AnalysisWorker, unit: MapUnit) -> MapPart:
    """Measure the images of a unit; a batch on which the model raises has no signs."""
    place = {entry.item_id: row for row, entry in enumerate(unit.entries)}
    parts = list(_measured(worker, unit, place))
    if not parts:
        nothing = np.zeros(0, np.int64)
        return MapPart((), np.zeros((0, len(MAP_SIGNS)), np.float32), nothing, nothing)
    items = tuple(item for part in parts for item in part.item_ids)
    arrays = (np.concatenate([getattr(part, name) for part in parts]) for name in ("signs", "forwards", "backwards"))
    return MapPart(items, *arrays)


def _measured(worker: AnalysisWorker, unit: MapUnit, place: dict[str, int]) -> Iterator[MapPart]:
    device = worker.classifier.device
    for batch in worker.batches(unit.entries, unit.images):
        if not batch.items:
            continue
        rows = [place[item.entry.item_id] for item in batch.items]
        label, logits = (torch.from_numpy(values[rows]).to(device) for values in (unit.label, unit.logits))
        where = None if unit.place is None else torch.from_numpy(unit.place[rows]).to(device)
        try:
            with worker.classifier:
                outside = _outside(batch, device, unit.parts) if {WHOLE, CORNERS} & {*unit.parts} else None
                found = map_signs(worker.classifier, batch.x.to(device), label, logits, outside, unit.parts, where)
        except (ModelRaisedError, NonFiniteError):
            continue
        yield MapPart(tuple(item.entry.item_id for item in batch.items), *(values.cpu().numpy() for values in found))


def _outside(batch: Batch, device: torch.device, parts: Sequence[str]) -> Tensor | None:
    """Return the views beyond the crop, NaN for images without; None if no image has any."""
    views, there = outside_views(batch.items, corners=CORNERS in parts)
    if not there.any():
        return None
    outside = torch.from_numpy(views).to(device=device, dtype=torch.float32) / 255
    outside[torch.from_numpy(~there).to(device)] = torch.nan
    return outside
