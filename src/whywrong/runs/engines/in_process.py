"""The engine that works in this process."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator

from whywrong.runs.interrupts import Stop
from whywrong.runs.work.context import Bench
from whywrong.runs.work.perform import perform
from whywrong.runs.work.tasks import Report, Sign, Unit


class InProcess:
    """One worker: this process."""

    def __init__(self, bench: Bench, stop: Stop) -> None:
        self._bench = bench
        self._stop = stop

    def run(self, units: Iterable[Unit], alive: Callable[[Sign], None]) -> Iterator[Report]:
        """See :class:`~whywrong.runs.engines.base.Engine`."""
        classifier = self._bench.classifier
        trouble: Exception | None = None

        def passed() -> None:
            nonlocal trouble
            sign = self._bench.sign()
            try:
                if sign is not None:
                    alive(sign)
            except Exception as error:  # noqa: BLE001 - raised here it would be taken for a fault of the model
                trouble, classifier.on_pass = error, None

        first, second = itertools.tee(units)
        next(second, None)
        for unit, following in itertools.zip_longest(first, second):
            self._stop.check()
            self._bench.prepare(unit)
            if following is not None:
                self._bench.prepare(following)
            classifier.on_pass = passed
            try:
                report = perform(self._bench, unit)
            finally:
                classifier.on_pass = None
            if trouble is not None:
                raise trouble
            yield report
            self._stop.check()

    def close(self) -> None:
        """See :class:`~whywrong.runs.engines.base.Engine`."""
        self._bench.close()
