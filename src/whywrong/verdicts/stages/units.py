"""Units of the verdict, measured in this process or in workers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from whywrong.core.errors import DeviceFailure, EnvironmentFailure, InputError, ModelRaisedError, NonFiniteError
from whywrong.core.randomness import item_keys
from whywrong.data.batches import Batch
from whywrong.data.sources.base import Entry
from whywrong.explain.analysis import AnalysisContext, AnalysisWorker
from whywrong.verdicts.cases.cases import Cases
from whywrong.verdicts.cases.helpers import Helper, helper_logits
from whywrong.verdicts.measure import Measures, measure
from whywrong.verdicts.measured import Measured, join

SIZE = 32
"""Images of a unit; a multiple of it fills the batches of most models."""

_PICTURE = 32  # pixels of a side of a small picture

CHANGED = "the image changed after it was predicted; run diagnose again"
VANISHED = "the data no longer lists this image"


@dataclass(frozen=True, slots=True)
class Unit:
    """Images to be measured.

    Attributes:
        entries: Their entries.
        image_ids: Digest of the content that was predicted.
        label: (N,) int64, class asked for.
        predicted: (N,) int64.
        logits: (N, K) float32, as measured before; (N, 0) if unknown.
        measures: What is measured.
        helpers: Helpers that are asked.
        images: Name of their set.
        seed: Seed of the noise.
    """

    entries: tuple[Entry, ...]
    image_ids: tuple[str, ...]
    label: np.ndarray
    predicted: np.ndarray
    logits: np.ndarray
    measures: Measures
    helpers: tuple[Helper, ...]
    images: str
    seed: int


@dataclass(frozen=True, slots=True)
class Part:
    """Measurements of a unit.

    Attributes:
        measured: Of the images that could be measured, None if there are none.
        failed: Item and reason of each other image.
        pictures: (n, 3, S, S) uint8, the images that the model sees, reduced; (n, 3, 0, 0) if they were not kept.
        boxes: (n, 4) float32, left, top, right and bottom of the object as shares of the model's input; NaN without.
    """

    measured: Measured | None
    failed: tuple[tuple[str, str], ...]
    pictures: np.ndarray
    boxes: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Taken:
    """Measurements of some cases.

    Attributes:
        rows: (M,) int64, cases that could be measured.
        measured: Their measurements, None if there are none.
        failed: Reason by item of each other case.
        pictures, boxes: As in :class:`Part`, of the measured cases.
    """

    rows: np.ndarray
    measured: Measured | None
    failed: dict[str, str]
    pictures: np.ndarray
    boxes: np.ndarray


def take(
    context: AnalysisContext,
    step: str,
    cases: Cases,
    measures: Measures | Sequence[Measures],
    *,
    seed: int,
    images: str = "data",
    helpers: Sequence[Helper] = (),
    logits: np.ndarray | None = None,
) -> Taken:
    """Measure cases in stored units.

    Args:
        context: Of the analysis.
        step: Name of the step.
        cases: Images to measure.
        measures: What is measured, of all or of each.
        seed: Seed of the noise.
        images: Name of their set.
        helpers: Helpers that are asked.
        logits: (N, K), as measured before; None if unknown.
    """
    known = np.zeros((len(cases), 0), np.float32) if logits is None else logits
    entries = context.entries(cases.item_ids, images)
    there = np.array([item in entries for item in cases.item_ids], bool)
    failed = {item: VANISHED for item, found in zip(cases.item_ids, there, strict=True) if not found}
    of_each = [measures] * len(cases) if isinstance(measures, Measures) else measures
    units, order = [], []
    for wanted in dict.fromkeys(of_each):
        rows = np.flatnonzero(there & np.array([one == wanted for one in of_each], bool))
        for start in range(0, len(rows), SIZE):
            order += rows[start : start + SIZE].tolist()
            some = rows[start : start + SIZE]
            chosen = cases.at(some)
            found = tuple(entries[item] for item in chosen.item_ids)
            images_of = chosen.image_ids, chosen.label, chosen.predicted, known[some]
            units.append(Unit(found, *images_of, wanted, tuple(helpers), images, seed))
    parts = list(context.over(step, measure_unit, units, settings=()))
    failed |= {item: reason for part in parts for item, reason in part.failed}
    measured = [part.measured for part in parts if part.measured is not None]
    if not measured:
        return Taken(np.zeros(0, np.int64), None, failed, np.zeros((0, 3, 0, 0), np.uint8), np.zeros((0, 4)))
    joined = join(measured)
    pictures, boxes = (
        np.concatenate([getattr(part, name) for part in parts if part.measured is not None])
        for name in ("pictures", "boxes")
    )
    place = {item: row for row, item in enumerate(joined.item_ids)}
    kept = np.array(sorted(row for row in order if cases.item_ids[row] in place), np.int64)
    chosen = np.array([place[cases.item_ids[row]] for row in kept], np.int64)
    return Taken(kept, joined.at(chosen), failed, pictures[chosen], boxes[chosen])


def measure_unit(worker: AnalysisWorker, unit: Unit) -> Part:
    """Measure the images of a unit, each failure of its own."""
    at = {entry.item_id: row for row, entry in enumerate(unit.entries)}
    parts: list[_OfBatch] = []
    failed: list[tuple[str, str]] = []
    for helper in unit.helpers:
        worker.watch(worker.models[helper.position])
    for batch in worker.batches(unit.entries, unit.images):
        failed += [(one.entry.item_id, one.reason) for one in batch.failed]
        kept = []
        for row, item in enumerate(batch.items):
            if unit.image_ids[at[item.entry.item_id]] not in ("", item.image_id):
                failed.append((item.entry.item_id, CHANGED))
            else:
                kept.append(row)
        if kept:
            parts += _measured(worker, unit, _rows(batch, kept), at, failed)
    if not parts:
        return Part(None, tuple(failed), np.zeros((0, 3, 0, 0), np.uint8), np.zeros((0, 4), np.float32))
    measured, pictures, boxes = zip(*parts, strict=True)
    return Part(join(measured), tuple(failed), np.concatenate(pictures), np.concatenate(boxes))


def _rows(batch: Batch, rows: Sequence[int]) -> Batch:
    if len(rows) == len(batch.items):
        return batch
    return replace(batch, x=batch.x[rows], y=batch.y[rows], items=tuple(batch.items[row] for row in rows))


def _measured(
    worker: AnalysisWorker, unit: Unit, batch: Batch, at: dict[str, int], failed: list[tuple[str, str]]
) -> Iterator[_OfBatch]:
    """Measure a batch, and its halves if the model raises, so that only the failing image is lost."""
    items = [item.entry.item_id for item in batch.items]
    rows = [at[item] for item in items]
    device = worker.classifier.device
    label, predicted, logits = (
        torch.from_numpy(values[rows]).to(device) for values in (unit.label, unit.predicted, unit.logits)
    )
    try:
        with worker.classifier:
            found = measure(
                worker.classifier,
                batch.x.to(device),
                label,
                predicted,
                item_ids=items,
                sources=[item.image_id for item in batch.items],
                keys=item_keys(unit.seed, items, "verdict").to(device),
                measures=unit.measures,
                logits=logits if logits.shape[1] else None,
            )
        if unit.helpers:
            found = replace(found, helper_logits=_helpers(worker, unit, batch))
        yield found, _pictures(batch, unit.measures.pictures), _boxes(batch)
        return
    except (DeviceFailure, InputError):
        raise
    except (ModelRaisedError, NonFiniteError, EnvironmentFailure) as error:
        reason = str(error)
    if len(items) == 1:
        failed.append((items[0], reason))
        return
    half = len(items) // 2
    for part in (range(half), range(half, len(items))):
        yield from _measured(worker, unit, _rows(batch, list(part)), at, failed)


_OfBatch = tuple[Measured, np.ndarray, np.ndarray]  # measurements, pictures and boxes


def _pictures(batch: Batch, wanted: bool) -> np.ndarray:
    """Reduce the images to (B, 3, 32, 32) uint8."""
    if not wanted:
        return np.zeros((len(batch.x), 3, 0, 0), np.uint8)
    x = batch.x.expand(-1, 3, -1, -1) if batch.x.shape[1] == 1 else batch.x[:, :3]
    small = torch.nn.functional.interpolate(x, (_PICTURE, _PICTURE), mode="bilinear", antialias=True)
    return small.mul(255).round().clamp(0, 255).to(torch.uint8).numpy()


def _boxes(batch: Batch) -> np.ndarray:
    """Return the boxes of the objects in the model's input (B, 4), NaN without; beyond 0..1 outside of the crop."""
    found = np.full((len(batch.items), 4), np.nan, np.float32)
    for row, item in enumerate(batch.items):
        if item.entry.box is not None:
            x0, y0, x1, y1 = item.entry.box
            geometry = item.geometry
            across, down = geometry.resized_width / geometry.width, geometry.resized_height / geometry.height
            left, right = (one * across - geometry.left for one in (x0, x1 + 1))
            top, bottom = (one * down - geometry.top for one in (y0, y1 + 1))
            sides = geometry.input_width, geometry.input_height
            found[row] = left / sides[0], top / sides[1], right / sides[0], bottom / sides[1]
    return found


def _helpers(worker: AnalysisWorker, unit: Unit, batch: Batch) -> np.ndarray:
    answers: list[Tensor] = [
        helper_logits(worker.models[match.position], match, batch.x, batch.items) for match in unit.helpers
    ]
    return torch.stack(answers).numpy()
