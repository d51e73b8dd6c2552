"""The worker of a run: predicts and explains the items of shards."""

from __future__ import annotations

from whywrong.models.memory import device_errors
from whywrong.runs.engines.base import Report
from whywrong.runs.work.context import WorkerContext
from whywrong.runs.work.explain import explain
from whywrong.runs.work.plan import Pending
from whywrong.runs.work.predict import predict
from whywrong.runs.work.tasks import ShardTask


class RunWorker(WorkerContext):
    """A worker that performs tasks of both stages."""

    def perform(self, task: ShardTask) -> Report:
        """Perform a task and commit its results.

        Raises:
            DeviceFailure: The GPU fails; nothing of the batch in hand is committed or attributed to an image.
        """
        plan = self.begin(task)
        with device_errors():
            return predict(self, task, plan) if isinstance(plan, Pending) else explain(self, task, plan)
