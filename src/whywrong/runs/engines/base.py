"""What every engine does: tasks in, reports out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from whywrong.runs.work.tasks import Report, Sign, Unit


class Engine(Protocol):
    """Does units of work and reports on each."""

    def run(self, units: Iterable[Unit], alive: Callable[[Sign], None]) -> Iterator[Report]:
        """Reports in the order in which the units are done.

        Args:
            units: What is to be done.
            alive: Told in between that images pass through the model.

        Raises:
            StopNow: A signal came; what was done is committed.
            EnvironmentFailure: The disk or the workers fail.
        """
        ...

    def close(self) -> None:
        """End what the engine holds."""
        ...
