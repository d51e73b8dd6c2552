"""Perform one unit of work of either stage."""

from __future__ import annotations

from whywrong.models.memory import device_errors
from whywrong.runs.work.context import Bench
from whywrong.runs.work.explain import explain
from whywrong.runs.work.plan import Pending
from whywrong.runs.work.predict import predict
from whywrong.runs.work.tasks import Report, Unit


def perform(bench: Bench, unit: Unit) -> Report:
    """Do a unit and commit what came of it.

    Raises:
        DeviceFailure: The GPU fails; nothing of the batch in hand is committed or booked on an image.
    """
    plan = bench.begin(unit)
    with device_errors():
        return predict(bench, unit, plan) if isinstance(plan, Pending) else explain(bench, unit, plan)
