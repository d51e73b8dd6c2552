"""The engine of spawned processes, whose crash does not end the run."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from multiprocessing.connection import wait
from typing import Any

from whywrong.core.errors import DeviceFailure, EnvironmentFailure
from whywrong.runs.engines.base import Heartbeat, Report, Task, WorkerSpec
from whywrong.runs.engines.worker import READY, serve
from whywrong.runs.interrupts import GRACE, Stop

_TRIES = 2  # crashes of a worker in one task, after which the cause is searched item by item
_BROKEN = 3  # failures of a GPU in one call, after which it is no longer used
_STARTS = 3  # crashes of workers before their first task, after which none is started again
_TICK = 0.25  # seconds between checks of clocks and signals
_BOOT = 300.0  # seconds that a worker may take to load the model
_AHEAD = 2  # tasks queued per worker, so that it loads the next while it computes

ItemsOf = Callable[[Any], Sequence[str]]


class _Worker:
    """A spawned process with its pipe, its GPU if any, and its tasks."""

    def __init__(self, spec: WorkerSpec, card: str | None = None) -> None:
        self.card = card
        if card is not None:
            spec = replace(spec, recipe=spec.recipe.on(card))
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=serve, args=(theirs, spec), name="whywrong-worker", daemon=True)
        self.process.start()
        theirs.close()
        self.ready = False
        self.tasks: deque[Task] = deque()
        self.items: tuple[str, ...] = ()
        self.seen = time.monotonic()

    def give(self, task: Task) -> None:
        """Queue a task; a dead worker is noticed on the next read."""
        if not self.tasks:
            self.seen = time.monotonic()
        self.tasks.append(task)
        with contextlib.suppress(OSError):
            self.pipe.send(task)

    def silence(self) -> float:
        """Return the seconds since the last message."""
        return time.monotonic() - self.seen

    def end(self) -> None:
        """Kill the process if it still runs."""
        self.process.kill()
        self.process.join()
        self.pipe.close()


class Processes:
    """An engine of several spawned workers.

    A worker that crashes or hangs is replaced, and its task tried again. After the second crash the images at hand go
    through one at a time, and the one that crashes a worker again becomes a failed item. A worker whose GPU fails is
    replaced too; no image is held responsible for that, and the third failure ends the run.

    Args:
        spec: Needs of a worker, with recipe and source spec.
        workers: Number of processes.
        stop: Signals.
        time_limit: Seconds without any image passing through the model, after which a worker counts as hung.
        items_of: Returns the items of a task, any of which may have crashed a worker that reported none.
    """

    def __init__(self, spec: WorkerSpec, workers: int, stop: Stop, *, time_limit: float, items_of: ItemsOf) -> None:
        self._spec = spec
        self._items_of = items_of
        self._stop = stop
        self._limit = time_limit
        self._count = workers
        self._workers: list[_Worker] = []
        self._deaths: dict[tuple[str, int], int] = {}
        self._early_deaths = 0
        self._broken_devices = 0

    def run(self, tasks: Iterable[Task], on_heartbeat: Callable[[Heartbeat], None]) -> Iterator[Report]:
        """Yield the reports, see :class:`~whywrong.runs.engines.base.Engine`."""
        waiting = deque(tasks)
        while waiting or any(worker.tasks for worker in self._workers):
            self._stop.check()
            busy = sum(bool(worker.tasks) for worker in self._workers)
            while len(self._workers) < min(self._count, busy + len(waiting)):
                self._workers.append(_Worker(self._spec, self._free_card()))
            for depth in range(1, _AHEAD + 1):  # one task for every worker before any gets two
                for worker in self._workers:
                    if waiting and len(worker.tasks) < depth:
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
                    worker.tasks.popleft()
                    worker.items = ()
                    yield message
                elif isinstance(message, DeviceFailure) and worker.ready:
                    self._broken_devices += 1
                    if self._broken_devices >= _BROKEN:
                        raise message
                    self._workers.remove(worker)
                    worker.end()
                    waiting.extendleft(reversed(worker.tasks))
                elif isinstance(message, BaseException):
                    raise message
                elif message == READY:
                    worker.ready = True
                elif isinstance(message, tuple):
                    worker.items = message
                elif isinstance(message, Heartbeat):
                    on_heartbeat(message)
            for worker in self._workers:
                if worker.tasks and worker.silence() > (self._limit if worker.ready else max(self._limit, _BOOT)):
                    dead.append((worker, f"no answer from the model within {self._limit:g} s"))
            for worker, reason in dead:
                self._workers.remove(worker)
                worker.end()
                waiting.extendleft(reversed(self._after_death(worker, reason)))

    def _free_card(self) -> str | None:
        """Return a GPU that no worker uses; a replaced worker inherits its GPU."""
        taken = {worker.card for worker in self._workers}
        return next((card for card in self._spec.cards if card not in taken), None)

    def _listen(self) -> list[_Worker]:
        by_pipe = {worker.pipe: worker for worker in self._workers}
        return [by_pipe[pipe] for pipe in wait(list(by_pipe), _TICK)]  # type: ignore[index]

    def _after_death(self, worker: _Worker, reason: str) -> list[Task]:
        """Return the remaining tasks of a dead worker."""
        if not worker.ready:
            self._early_deaths += 1
            if self._early_deaths >= _STARTS:
                raise EnvironmentFailure(f"workers end before their first image ({reason}); try --workers 1")
            return list(worker.tasks)
        if not worker.tasks:
            return []
        task, *others = worker.tasks
        deaths = self._deaths[task.stage, task.shard] = self._deaths.get((task.stage, task.shard), 0) + 1
        if deaths < _TRIES:
            return [task, *others]
        if len(worker.items) == 1 and worker.items[0] in task.isolated:
            return [replace(task, attributed=task.attributed | {(worker.items[0], f"{reason} on this image")}), *others]
        suspects = worker.items or self._items_of(task)
        if task.isolated.issuperset(suspects):
            raise EnvironmentFailure(
                f"a worker keeps ending in shard {task.shard} ({reason}), on no image in particular"
            )
        return [replace(task, isolated=task.isolated | set(suspects)), *others]

    def close(self) -> None:
        """Stop the workers, with a moment to commit the current batch."""
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
