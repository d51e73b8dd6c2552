"""The engine of spawned processes, which may die without taking the run along."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from multiprocessing.connection import wait

from whywrong.core.errors import DeviceFailure, EnvironmentFailure
from whywrong.runs.engines.worker import READY, serve
from whywrong.runs.interrupts import GRACE, Stop
from whywrong.runs.store.stored_run import StoredRun
from whywrong.runs.work.plan import computed_items
from whywrong.runs.work.tasks import Job, Report, Sign, Unit

_TRIES = 2  # deaths of a worker in one unit, after which the item in hand is looked for
_BROKEN = 3  # failures of a GPU in one call, after which it is given up
_STARTS = 3  # deaths of workers before their first unit, after which none is started again
_TICK = 0.25  # seconds between looks at clocks and signals
_BOOT = 300.0  # seconds that a worker may take to load the model
_AHEAD = 2  # units a worker knows of, so that it loads the next while it computes


class _Worker:
    """A spawned process with its pipe, its GPU, where it has one, and the units it was given."""

    def __init__(self, job: Job, card: str | None = None) -> None:
        self.card = card
        if card is not None:
            job = replace(job, recipe=job.recipe.on(card))
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, job), name="whywrong-worker", daemon=True)
        self.process.start()
        theirs.close()
        self.ready = False
        self.units: deque[Unit] = deque()
        self.items: tuple[str, ...] = ()
        self.seen = time.monotonic()

    def give(self, unit: Unit) -> None:
        """Queue a unit; a dead worker is noticed when it is listened to."""
        if not self.units:
            self.seen = time.monotonic()
        self.units.append(unit)
        with contextlib.suppress(OSError):
            self.pipe.send(unit)

    def silence(self) -> float:
        """Seconds since anything was heard."""
        return time.monotonic() - self.seen

    def end(self) -> None:
        """Kill it, if it still runs."""
        self.process.kill()
        self.process.join()
        self.pipe.close()


class Processes:
    """Several spawned workers. One that dies or falls silent is replaced and its unit tried again; after the second
    death the images in hand go through one at a time, and the one that ends a worker again becomes a failed item.
    One whose GPU fails is replaced too; no image is blamed for that, and the third time ends the run.

    Args:
        job: What is to be done, with recipe and source spec.
        workers: Number of processes.
        stop: Signals.
        time_limit: Seconds without any image passing through the model, after which a worker counts as hung.
    """

    def __init__(self, job: Job, workers: int, stop: Stop, *, time_limit: float) -> None:
        self._job = job
        self._run = StoredRun(job.folder)
        self._stop = stop
        self._limit = time_limit
        self._count = workers
        self._workers: list[_Worker] = []
        self._deaths: dict[tuple[str, int], int] = {}
        self._early_deaths = 0
        self._broken_devices = 0

    def run(self, units: Iterable[Unit], alive: Callable[[Sign], None]) -> Iterator[Report]:
        """See :class:`~whywrong.runs.engines.base.Engine`."""
        waiting = deque(units)
        while waiting or any(worker.units for worker in self._workers):
            self._stop.check()
            busy = sum(bool(worker.units) for worker in self._workers)
            while len(self._workers) < min(self._count, busy + len(waiting)):
                self._workers.append(_Worker(self._job, self._free_card()))
            for depth in range(1, _AHEAD + 1):  # one unit for everybody before anybody gets two
                for worker in self._workers:
                    if waiting and len(worker.units) < depth:
                        worker.give(waiting.popleft())
            dead = []
            for worker in self._listen():
                try:
                    message = worker.pipe.recv()
                except (EOFError, OSError):
                    dead.append((worker, _ending(worker)))
                    continue
                worker.seen = time.monotonic()
                if isinstance(message, Report):
                    worker.units.popleft()
                    worker.items = ()
                    yield message
                elif isinstance(message, DeviceFailure) and worker.ready:
                    self._broken_devices += 1
                    if self._broken_devices >= _BROKEN:
                        raise message
                    self._workers.remove(worker)
                    worker.end()
                    waiting.extendleft(reversed(worker.units))
                elif isinstance(message, BaseException):
                    raise message
                elif message == READY:
                    worker.ready = True
                elif isinstance(message, tuple):
                    worker.items = message
                elif isinstance(message, Sign):
                    alive(message)
            for worker in self._workers:
                if worker.units and worker.silence() > (self._limit if worker.ready else max(self._limit, _BOOT)):
                    dead.append((worker, f"no answer from the model within {self._limit:g} s"))
            for worker, reason in dead:
                self._workers.remove(worker)
                worker.end()
                waiting.extendleft(reversed(self._after_death(worker, reason)))

    def _free_card(self) -> str | None:
        """A GPU that no worker has; a worker that follows another takes its card."""
        taken = {worker.card for worker in self._workers}
        return next((card for card in self._job.cards if card not in taken), None)

    def _listen(self) -> list[_Worker]:
        by_pipe = {worker.pipe: worker for worker in self._workers}
        return [by_pipe[pipe] for pipe in wait(list(by_pipe), _TICK)]  # type: ignore[index]

    def _after_death(self, worker: _Worker, reason: str) -> list[Unit]:
        """What is left to do of what a dead worker was given."""
        if not worker.ready:
            self._early_deaths += 1
            if self._early_deaths >= _STARTS:
                raise EnvironmentFailure(f"workers end before their first image ({reason}); try --workers 1")
            return list(worker.units)
        if not worker.units:
            return []
        unit, *others = worker.units
        deaths = self._deaths[unit.stage, unit.shard] = self._deaths.get((unit.stage, unit.shard), 0) + 1
        if deaths < _TRIES:
            return [unit, *others]
        if len(worker.items) == 1 and worker.items[0] in unit.singly:
            return [replace(unit, blame=unit.blame | {(worker.items[0], f"{reason} on this image")}), *others]
        suspects = worker.items or [row["item_id"] for row in computed_items(self._run, unit.shard)]
        if unit.singly.issuperset(suspects):
            raise EnvironmentFailure(
                f"a worker keeps ending in shard {unit.shard} ({reason}), on no image in particular"
            )
        return [replace(unit, singly=unit.singly | set(suspects)), *others]

    def close(self) -> None:
        """See :class:`~whywrong.runs.engines.base.Engine`; workers get a moment to commit the batch in hand."""
        for worker in self._workers:
            worker.process.terminate()
        until = time.monotonic() + (GRACE if self._stop.requested else 0.0)
        for worker in self._workers:
            worker.process.join(max(0.0, until - time.monotonic()))
            worker.end()
        self._workers = []


def _ending(worker: _Worker) -> str:
    worker.process.join(_TICK)
    code = worker.process.exitcode
    if code is None:
        return "the model's process closed its pipe"
    if code < 0:
        return f"the model's process was ended by {signal.Signals(-code).name}"
    return f"the model's process ended with exit code {code}"
