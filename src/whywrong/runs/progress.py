"""Progress reports of long calls."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from whywrong.runs.engines.base import Heartbeat

_TICK = 0.5  # seconds between two updates of a stage while images pass


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a run.

    Attributes:
        stage: ``list``, ``predict``, ``explain`` or ``check``; ``stopping`` if a signal came and the current batch is
            being finished.
        done: Items, or errors, of the stage that this call has finished.
        total: All that it has to do.
        errors: Misclassified items that this call has found.
        failed: Items that could not be used, in this call.
        passes: Images, counted forward and backward, that this stage has sent through the model.
        share: In ``explain``, the completed share of its work, 0 to 1, by passes spent and expected; None in other
            stages. It moves while a method works, ``done`` only with finished shards.
        method: In ``explain``, the running method; empty if none runs.
    """

    stage: str
    done: int
    total: int
    errors: int
    failed: int
    passes: int = 0
    share: float | None = None
    method: str = ""


class Ticker:
    """Shows a stage after every task, and twice a second while images pass.

    Args:
        progress: Called with the progress.
        start: The initial progress of the stage.
        work: Passes expected of each shard, if the share of the work is shown.
    """

    def __init__(
        self, progress: Callable[[Progress], None], start: Progress, work: Mapping[int, float] | None = None
    ) -> None:
        self._progress, self._last = progress, start
        self._work = work or {}
        self._shares = dict.fromkeys(self._work, 0.0)
        self._shown = time.monotonic()
        progress(start)

    def show(self, **changes: int) -> None:
        """Show the stage with some counts changed."""
        self._last, self._shown = replace(self._last, **changes), time.monotonic()
        self._progress(self._last)

    def over(self, shard: int) -> None:
        """Record that a shard is done."""
        self._move(shard, 1.0)
        self._last = replace(self._last, method="")

    def on_heartbeat(self, heartbeat: Heartbeat) -> None:
        """Count images that passed, and show them unless the last update is recent."""
        self._last = replace(self._last, passes=self._last.passes + heartbeat.passed, method=heartbeat.method)
        self._move(heartbeat.shard, heartbeat.share)
        if time.monotonic() - self._shown >= _TICK:
            self.show()

    def _move(self, shard: int, share: float) -> None:
        if self._shares.get(shard, 1.0) < 1.0:  # a heartbeat may arrive after the report of its shard
            self._shares[shard] = share
            total = sum(self._work.values())
            done = sum(self._work[name] * share for name, share in self._shares.items())
            self._last = replace(self._last, share=done / total if total else 0.0)
