"""A worker's place: the classifier, the source, and items loaded ahead."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from whywrong.core.errors import BadItemError
from whywrong.data.items import image_id_of, load_item
from whywrong.data.sources.base import Source
from whywrong.models.classifier import Classifier
from whywrong.runs.listing import entry_of
from whywrong.runs.store.stored_run import StoredRun
from whywrong.runs.work.costs import Effort
from whywrong.runs.work.lookahead import LookAhead
from whywrong.runs.work.plan import ExplainPlan, Pending, Row, plan_explain, plan_predictions
from whywrong.runs.work.tasks import Job, Sign, Unit
from whywrong.runs.work.thumbs import LONGEST, make_thumb


@dataclass(frozen=True, slots=True)
class Loaded:
    """One item, read and decoded.

    Attributes:
        row: Its row of the listing.
        reason: Why it cannot be used; None where it can.
        image_id: None where it cannot be read.
        pixels: (C, H, W), uint8, as the model sees it.
        mask: (H, W), bool, the object; None where unknown.
        thumb: Columns of its thumb, where asked for.
        width: Of the photograph, in pixels.
        height: The same.
        notes: What was unusual about the file.
    """

    row: Row
    reason: str | None = None
    image_id: str | None = None
    pixels: np.ndarray | None = None
    mask: np.ndarray | None = None
    thumb: dict[str, Any] | None = None
    width: int | None = None
    height: int | None = None
    notes: tuple[str, ...] = ()


class Bench:
    """Everything that the units of one worker share.

    Args:
        job: What is to be done.
        classifier: The classifier of the run.
        source: The source of the run.
        stopping: Whether to leave after the batch in hand.
        at: Told which items are about to go through the model, so that a death can be blamed on them.
    """

    def __init__(
        self,
        job: Job,
        classifier: Classifier,
        source: Source,
        *,
        stopping: Callable[[], bool] = lambda: False,
        at: Callable[[Sequence[str]], None] = lambda items: None,
    ) -> None:
        self.job = job
        self.run = StoredRun(job.folder)
        self.classifier = classifier
        self.source = source
        self.stopping = stopping
        self.at = at
        self.refused: dict[str, str] = {}
        self.effort = Effort(lambda: classifier.forwards + classifier.backwards)
        self._unit: Unit | None = None
        self._told = classifier.forwards + classifier.backwards
        self._plans: dict[Unit, Pending | ExplainPlan] = {}
        self._ahead: LookAhead[tuple[Row, bool], Loaded] = LookAhead(
            lambda wanted: self.load(*wanted), threads=job.load_threads, capacity=max(2 * job.batch_size, 16)
        )

    def prepare(self, unit: Unit) -> Pending | ExplainPlan:
        """Plan a unit and begin to load its items. Units must be prepared in the order in which they are run."""
        if unit in self._plans:
            return self._plans[unit]
        plan: Pending | ExplainPlan
        if unit.stage == "predict":
            plan = plan_predictions(self.run, unit.shard, unit.last)
            thumbs: Collection[str] = ()
        else:
            plan = plan_explain(self.run, unit.shard, self.job.steps, unit.details, unit.controls)
            thumbs = {row["item_id"] for row in plan.thumbs.rows}
        self._ahead.add((row, row["item_id"] in thumbs) for row in plan.rows if _together(unit, row))
        self._plans[unit] = plan
        return plan

    def begin(self, unit: Unit) -> Pending | ExplainPlan:
        """The plan of a unit, which is in hand from now on."""
        plan = self.prepare(unit)
        self._unit = unit
        del self._plans[unit]
        return plan

    def sign(self) -> Sign | None:
        """What has happened since the last sign; None where no image has passed."""
        unit, passes = self._unit, self.classifier.forwards + self.classifier.backwards
        passed, self._told = passes - self._told, passes
        if unit is None or not passed:
            return None
        if unit.stage == "predict":
            return Sign(shard=unit.shard, passed=passed)
        return Sign(shard=unit.shard, passed=passed, share=self.effort.share(), method=self.effort.method)

    def close(self) -> None:
        """End the background threads."""
        self._ahead.close()

    def take(self, count: int) -> list[Loaded]:
        """The next items of the unit in hand."""
        return [self._ahead.take() for _ in range(count)]

    def load(self, row: Row, with_thumb: bool = False) -> Loaded:
        """Read and decode one item; whatever is wrong with it becomes its reason."""
        entry = entry_of(row)
        try:
            side = LONGEST if with_thumb else None
            item = load_item(self.source, entry, self.job.spec, self.job.options, photo_side=side)
            thumb = make_thumb(item.image, item.geometry) if with_thumb else None
        except BadItemError as error:
            return Loaded(row, error.reason, self._digest(row))
        except Exception as error:  # noqa: BLE001 - no file may end a run, whatever a parser makes of it
            return Loaded(row, f"cannot be decoded ({type(error).__name__}: {error})", self._digest(row))
        return Loaded(
            row,
            None,
            item.image_id,
            item.pixels,
            item.mask,
            thumb,
            item.geometry.width,
            item.geometry.height,
            item.notes,
        )

    def _digest(self, row: Row) -> str | None:
        try:
            return image_id_of(self.source.read(entry_of(row)))
        except BadItemError:
            return None


def batches(unit: Unit, rows: Sequence[Row], size: int) -> Iterable[list[Row]]:
    """Rows of a unit that go through the model together; those that nobody shares a batch with come last."""
    together, blamed = [row for row in rows if _together(unit, row)], unit.blamed
    for start in range(0, len(together), size):
        yield together[start : start + size]
    for row in rows:
        if row["item_id"] in unit.singly and row["item_id"] not in blamed:
            yield [row]


def as_input(pixels: Sequence[np.ndarray], device: torch.device | str = "cpu") -> Tensor:
    """(B, C, H, W), float32, in [0, 1], from (C, H, W) uint8 each, which travel to the device as the bytes they are."""
    return torch.from_numpy(np.stack(pixels)).to(device).float().div_(255)


def first_line(error: BaseException) -> str:
    """An exception in one line, for the record of an item."""
    cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
    text = str(cause).strip().splitlines()
    return f"{type(cause).__name__}: {text[0][:200]}" if text else type(cause).__name__


def _together(unit: Unit, row: Row) -> bool:
    return row["item_id"] not in unit.singly and row["item_id"] not in unit.blamed
