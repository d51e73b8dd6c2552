"""State shared by the tasks of one worker: the classifier, the source, and items loaded ahead."""

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
from whywrong.runs.engines.base import Heartbeat
from whywrong.runs.listing import entry_of
from whywrong.runs.store.stored_run import StoredRun
from whywrong.runs.work.costs import CostEstimator
from whywrong.runs.work.lookahead import LookAhead
from whywrong.runs.work.plan import ExplainPlan, Pending, Row, plan_explain, plan_predictions
from whywrong.runs.work.tasks import RunSpec, ShardTask
from whywrong.runs.work.thumbs import LONGEST, make_thumb


@dataclass(frozen=True, slots=True)
class Loaded:
    """One item, read and decoded.

    Attributes:
        row: Its row of the listing.
        reason: Why it cannot be used; None if it can.
        image_id: None if it cannot be read.
        pixels: (C, H, W), uint8, as the model sees it.
        mask: (H, W), bool, the object; None if unknown.
        thumb: Columns of its thumbnail, if requested.
        width: Of the photograph, in pixels.
        height: The same.
        notes: Unusual properties of the file.
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


class WorkerContext:
    """Everything that the tasks of one worker of a run share.

    Args:
        run_spec: Settings of the run.
        classifier: The classifier of the run.
        source: The source of the run.
        stopping: Returns whether to stop after the current batch.
        at: Called with the items that are about to go through the model, so that a crash can be attributed to them.
    """

    def __init__(
        self,
        run_spec: RunSpec,
        classifier: Classifier,
        source: Source,
        *,
        stopping: Callable[[], bool] = lambda: False,
        at: Callable[[Sequence[str]], None] = lambda items: None,
    ) -> None:
        self.run_spec = run_spec
        self.run = StoredRun(run_spec.folder)
        self.classifier = classifier
        self.source = source
        self.stopping = stopping
        self.at = at
        self.refused: dict[str, str] = {}
        self.costs = CostEstimator(lambda: classifier.forwards + classifier.backwards)
        self._task: ShardTask | None = None
        self._told = classifier.forwards + classifier.backwards
        self._plans: dict[ShardTask, Pending | ExplainPlan] = {}
        self._ahead: LookAhead[tuple[Row, bool], Loaded] = LookAhead(
            lambda wanted: self.load(*wanted), threads=run_spec.load_threads, capacity=max(2 * run_spec.batch_size, 16)
        )

    def prepare(self, task: ShardTask) -> Pending | ExplainPlan:
        """Plan a task and begin to load its items.

        Tasks must be prepared in the order in which they are run.
        """
        if task in self._plans:
            return self._plans[task]
        plan: Pending | ExplainPlan
        if task.stage == "predict":
            plan = plan_predictions(self.run, task.shard, task.last)
            thumbs: Collection[str] = ()
        else:
            plan = plan_explain(self.run, task.shard, self.run_spec.steps, task.details, task.controls)
            thumbs = {row["item_id"] for row in plan.thumbs.rows}
        self._ahead.add((row, row["item_id"] in thumbs) for row in plan.rows if _together(task, row))
        self._plans[task] = plan
        return plan

    def begin(self, task: ShardTask) -> Pending | ExplainPlan:
        """Begin a task and return its plan."""
        plan = self.prepare(task)
        self._task = task
        del self._plans[task]
        return plan

    def heartbeat(self) -> Heartbeat | None:
        """Return the progress since the last heartbeat, or None if no image has passed."""
        task, passes = self._task, self.classifier.forwards + self.classifier.backwards
        passed, self._told = passes - self._told, passes
        if task is None or not passed:
            return None
        if task.stage == "predict":
            return Heartbeat(shard=task.shard, passed=passed)
        return Heartbeat(shard=task.shard, passed=passed, share=self.costs.share(), method=self.costs.method)

    def close(self) -> None:
        """Stop the background threads."""
        self._ahead.close()

    def take(self, count: int) -> list[Loaded]:
        """Return the next items of the current task."""
        return [self._ahead.take() for _ in range(count)]

    def load(self, row: Row, with_thumb: bool = False) -> Loaded:
        """Read and decode one item, with any failure as its reason."""
        entry = entry_of(row)
        try:
            side = LONGEST if with_thumb else None
            item = load_item(self.source, entry, self.run_spec.spec, self.run_spec.options, photo_side=side)
            thumb = make_thumb(item.image, item.geometry) if with_thumb else None
        except BadItemError as error:
            return Loaded(row, error.reason, self._digest(row))
        except Exception as error:  # noqa: BLE001 - no file may end a run, whatever a parser raises
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


def batches(task: ShardTask, rows: Sequence[Row], size: int) -> Iterable[list[Row]]:
    """Yield rows of a task that go through the model together, isolated ones last."""
    together, reasons = [row for row in rows if _together(task, row)], task.reasons
    for start in range(0, len(together), size):
        yield together[start : start + size]
    for row in rows:
        if row["item_id"] in task.isolated and row["item_id"] not in reasons:
            yield [row]


def as_input(pixels: Sequence[np.ndarray], device: torch.device | str = "cpu") -> Tensor:
    """Convert images (C, H, W) uint8 to (B, C, H, W) float32 in [0, 1] on a device.

    They are copied to the device as bytes.
    """
    return torch.from_numpy(np.stack(pixels)).to(device).float().div_(255)


def first_line(error: BaseException) -> str:
    """Format an exception in one line, for the record of an item."""
    cause = error.__cause__ if isinstance(error.__cause__, Exception) else error
    text = str(cause).strip().splitlines()
    return f"{type(cause).__name__}: {text[0][:200]}" if text else type(cause).__name__


def _together(task: ShardTask, row: Row) -> bool:
    return row["item_id"] not in task.isolated and row["item_id"] not in task.reasons
