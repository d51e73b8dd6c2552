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
    """

    measured: Measured | None
    failed: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, eq=False)
class Taken:
    """Measurements of some cases.

    Attributes:
        rows: (M,) int64, cases that could be measured.
        measured: Their measurements, None if there are none.
        failed: Reason by item of each other case.
    """

    rows: np.ndarray
    measured: Measured | None
    failed: dict[str, str]


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
        return Taken(np.zeros(0, np.int64), None, failed)
    joined = join(measured)
    place = {item: row for row, item in enumerate(joined.item_ids)}
    kept = np.array(sorted(row for row in order if cases.item_ids[row] in place), np.int64)
    return Taken(kept, joined.at(np.array([place[cases.item_ids[row]] for row in kept])), failed)


def measure_unit(worker: AnalysisWorker, unit: Unit) -> Part:
    """Measure the images of a unit, each failure of its own."""
    at = {entry.item_id: row for row, entry in enumerate(unit.entries)}
    parts: list[Measured] = []
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
    return Part(join(parts) if parts else None, tuple(failed))


def _rows(batch: Batch, rows: Sequence[int]) -> Batch:
    if len(rows) == len(batch.items):
        return batch
    return replace(batch, x=batch.x[rows], y=batch.y[rows], items=tuple(batch.items[row] for row in rows))


def _measured(
    worker: AnalysisWorker, unit: Unit, batch: Batch, at: dict[str, int], failed: list[tuple[str, str]]
) -> Iterator[Measured]:
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
        yield replace(found, helper_logits=_helpers(worker, unit, batch)) if unit.helpers else found
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


def _helpers(worker: AnalysisWorker, unit: Unit, batch: Batch) -> np.ndarray:
    answers: list[Tensor] = [
        helper_logits(worker.models[match.position], match, batch.x, batch.items) for match in unit.helpers
    ]
    return torch.stack(answers).numpy()
