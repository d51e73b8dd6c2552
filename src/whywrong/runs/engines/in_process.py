"""The engine that works in this process."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator

from whywrong.runs.engines.base import Heartbeat, Report, Task, Worker
from whywrong.runs.interrupts import Stop


class InProcess:
    """An engine whose single worker is this process."""

    def __init__(self, worker: Worker, stop: Stop) -> None:
        self._worker = worker
        self._stop = stop

    def run(self, tasks: Iterable[Task], on_heartbeat: Callable[[Heartbeat], None]) -> Iterator[Report]:
        """Yield the reports, see :class:`~whywrong.runs.engines.base.Engine`."""
        classifier = self._worker.classifier
        trouble: Exception | None = None

        def passed() -> None:
            nonlocal trouble
            heartbeat = self._worker.heartbeat()
            try:
                if heartbeat is not None:
                    on_heartbeat(heartbeat)
            except Exception as error:  # noqa: BLE001 - raised here, it would be attributed to the model
                trouble, classifier.on_pass = error, None

        first, second = itertools.tee(tasks)
        next(second, None)
        for task, following in itertools.zip_longest(first, second):
            self._stop.check()
            self._worker.prepare(task)
            if following is not None:
                self._worker.prepare(following)
            classifier.on_pass = passed
            try:
                report = self._worker.perform(task)
            finally:
                classifier.on_pass = None
            if trouble is not None:
                raise trouble
            yield report
            self._stop.check()

    def close(self) -> None:
        """Close the worker, see :class:`~whywrong.runs.engines.base.Engine`."""
        self._worker.close()
