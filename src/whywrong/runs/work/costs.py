"""Completed share of a task's work, by passes through the model that were spent and that are expected."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from whywrong.core.registry import Method
from whywrong.runs.work.plan import ExplainPlan, Row
from whywrong.runs.work.tasks import MethodSpec, ShardTask

_OVERDUE = 0.1  # share of a call's expected passes that is still expected once all of them are spent


@dataclass(slots=True)
class Rows:
    """Errors, counted separately by what they cost.

    Attributes:
        plain: Errors that are not explained in full.
        full: Those that are.
    """

    plain: int = 0
    full: int = 0

    @classmethod
    def of(cls, step: MethodSpec, rows: list[Row], task: ShardTask) -> Rows:
        """Count the rows of a task for the method of a step."""
        if step.controls:
            return cls(0, len(rows))
        full = sum(row["item_id"] in task.details for row in rows) if "detail" in step.method.takes else 0
        return cls(len(rows) - full, full)


def expected(plan: ExplainPlan, steps: tuple[MethodSpec, ...], task: ShardTask) -> float:
    """Return the passes that a task usually takes, by the registry alone."""
    usual = _PassesPerRow()
    return sum(usual.passes(step.method, Rows.of(step, plan.steps[step.name].rows, task)) for step in steps)


class CostEstimator:
    """Follows the work of a worker, task by task; the share can be read from another thread.

    Args:
        passed: Passes of the classifier so far.
    """

    def __init__(self, passed: Callable[[], int]) -> None:
        self._passed = passed
        self._passes = _PassesPerRow()
        self._left: Mapping[str, tuple[Method, Rows]] = {}
        self._start = self._share = 0.0
        self._call: tuple[float, float] | None = None  # passes at its start, and those expected of it
        self.method = ""

    def begin(self, plan: ExplainPlan, steps: tuple[MethodSpec, ...], task: ShardTask) -> None:
        """Begin a task."""
        self._start, self._share, self._call, self.method = float(self._passed()), 0.0, None, ""
        self._left = {step.name: (step.method, Rows.of(step, plan.steps[step.name].rows, task)) for step in steps}

    @contextmanager
    def call(self, step: MethodSpec, rows: list[Row], task: ShardTask) -> Iterator[None]:
        """Track a call of a method on some rows."""
        method, left = self._left[step.name]
        asked = Rows.of(step, rows, task)
        left.plain, left.full = left.plain - asked.plain, left.full - asked.full
        self.method = method.name
        self._call = float(self._passed()), self._passes.passes(method, asked)
        try:
            yield
        finally:
            self._call = None

    def learn(self, step: MethodSpec, spent: Tensor, full: Tensor | None) -> None:
        """Record the cost of rows of a method.

        Passes (B,), and whether each row was explained in full (B,) bool.
        """
        self._passes.learn(step.method, spent, torch.zeros_like(spent, dtype=torch.bool) if full is None else full)

    def end(self, step: MethodSpec) -> None:
        """Record that a method has finished or was refused."""
        left = self._left[step.name][1]
        left.plain = left.full = 0

    def share(self) -> float:
        """Return the completed share of the current task, 0 to 1.

        It never decreases, though the expected work may change.
        """
        now, call = float(self._passed()), self._call
        ahead = sum(self._passes.passes(method, rows) for method, rows in self._left.values())
        if call is not None:
            begun, due = call
            ahead += max(due - (now - begun), _OVERDUE * due)
        spent = now - self._start
        if spent + ahead > 0:
            self._share = max(self._share, spent / (spent + ahead))
        return self._share


@dataclass(slots=True)
class _PassesPerRow:
    """Passes per row, as measured in this worker, or else by the registry."""

    seen: dict[tuple[str, bool], float] = field(default_factory=dict)

    def passes(self, method: Method, rows: Rows) -> float:
        plain = self.seen.get((method.name, False), float(method.passes[0]))
        full = self.seen.get((method.name, True), float(method.passes[1]))
        return rows.plain * plain + rows.full * full

    def learn(self, method: Method, spent: Tensor, full: Tensor) -> None:
        for in_full in (False, True):
            mine = spent[full == in_full]
            if len(mine):
                self.seen[method.name, in_full] = float(mine.double().mean())
