"""Read and decode ahead of the model: background threads, in order, with bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

J = TypeVar("J")
R = TypeVar("R")


class LookAhead(Generic[J, R]):
    """Results of ``load`` over a growing queue of jobs, in the order in which they were added.

    Args:
        load: Called in a background thread; Pillow releases the interpreter lock while it decodes.
        threads: Background threads.
        capacity: Most jobs that are started and not yet taken, which bounds the memory.
    """

    def __init__(self, load: Callable[[J], R], *, threads: int, capacity: int) -> None:
        self._load = load
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="whywrong-load")
        self._capacity = capacity
        self._waiting: deque[J] = deque()
        self._started: deque[Future[R]] = deque()

    def __enter__(self) -> LookAhead[J, R]:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add(self, jobs: Iterable[J]) -> None:
        """Add jobs to the end of the queue."""
        self._waiting.extend(jobs)
        self._start()

    def take(self) -> R:
        """Wait for the next result and return it."""
        result = self._started.popleft().result()
        self._start()
        return result

    def close(self) -> None:
        """Discard the remaining jobs and results."""
        self._waiting.clear()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _start(self) -> None:
        while self._waiting and len(self._started) < self._capacity:
            self._started.append(self._pool.submit(self._load, self._waiting.popleft()))
