"""The interface of engines, which take tasks and yield reports."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from whywrong.runs.interrupts import Stop


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSpec:
    """Everything a worker needs before its first task, plain and picklable.

    Attributes:
        worker: ``module:attribute`` of its :class:`Worker`.
        batch_size: Images in one pass through the model.
        load_threads: Background threads that read and decode.
        model_threads: Threads of the model in a worker process.
        recipe: Rebuilds the classifier in a worker process; None in process.
        source: Picklable spec of the source, with ``open()``; None in process.
        cards: GPU of each worker process; empty if the recipe names the device.
    """

    worker: ClassVar[str]
    batch_size: int
    load_threads: int = 1
    model_threads: int = 1
    recipe: Any = None
    source: Any = None
    cards: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One shard in one stage, the work between two commits.

    Attributes:
        stage: Name of the stage.
        shard: Index of the shard.
        isolated: Items to be processed one at a time, because a worker crashed on one of them.
        attributed: Items that crashed a worker more than once, with the reason; they are recorded and not tried again.
    """

    stage: str
    shard: int
    isolated: frozenset[str] = frozenset()
    attributed: frozenset[tuple[str, str]] = frozenset()

    @property
    def reasons(self) -> dict[str, str]:
        """Return the reason of each item that crashed a worker."""
        return dict(self.attributed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """Progress of a worker during a task.

    Attributes:
        shard: Shard of the task.
        passed: Images that have gone through the model since the last heartbeat.
        share: Completed share of the task, 0 to 1; 0 if unknown.
        method: The running method; empty if none runs.
    """

    shard: int
    passed: int
    share: float = 0.0
    method: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The outcome of a task.

    Attributes:
        task: The task.
        done: Number of processed items or errors.
        errors: Number of misclassified items among those predicted.
        failed: Number of items that could not be used.
        nonfinite: Number of items with NaN or infinite scores.
        refused: Methods that cannot run on this classifier, with the reason.
        notes: Lines for the run's record.
        complete: False if the task was interrupted; finished work is committed.
    """

    task: Task
    done: int = 0
    errors: int = 0
    failed: int = 0
    nonfinite: int = 0
    refused: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    complete: bool = True


class Worker(Protocol):
    """Performs tasks one after another, and commits the results of each."""

    classifier: Any
    """The classifier of the tasks; an engine listens to its ``on_pass``."""

    def prepare(self, task: Any) -> object:
        """Plan a task and begin to load its items.

        Tasks must be prepared in the order in which they are performed.
        """
        ...

    def perform(self, task: Any) -> Report:
        """Perform a task and commit its results."""
        ...

    def heartbeat(self) -> Heartbeat | None:
        """Return the progress since the last heartbeat, or None if no image has passed."""
        ...

    def close(self) -> None:
        """Stop the background threads."""
        ...


class MakeWorker(Protocol):
    """Type of the function that :attr:`WorkerSpec.worker` names."""

    def __call__(
        self,
        spec: Any,
        classifier: Any,
        source: Any,
        *,
        stopping: Callable[[], bool],
        at: Callable[[Sequence[str]], None],
    ) -> Worker:
        """Make a worker.

        Args:
            spec: The :class:`WorkerSpec`.
            classifier: The classifier.
            source: The source.
            stopping: Returns whether to stop after the current batch.
            at: Called with the items that are about to go through the model, so that a crash can be attributed to them.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineOptions:
    """Options of an engine.

    Attributes:
        workers: Number of workers, at least 1.
        stop: Signals.
        time_limit: Seconds without an image passing through the model, after which a worker counts as hung.
        items_of: Returns the items of a task, any of which may have crashed a worker that reported none.
    """

    workers: int
    stop: Stop
    time_limit: float
    items_of: Callable[[Any], Sequence[str]]


class Engine(Protocol):
    """Performs tasks and reports on each."""

    def run(self, tasks: Iterable[Task], on_heartbeat: Callable[[Heartbeat], None]) -> Iterator[Report]:
        """Yield the reports, in the order in which the tasks finish.

        Args:
            tasks: Tasks to perform.
            on_heartbeat: Called while images pass through the model.

        Raises:
            StopNow: Interrupted by a signal; finished work is committed.
            EnvironmentFailure: The disk or the workers fail.
        """
        ...

    def close(self) -> None:
        """Release the resources of the engine."""
        ...
