"""``progress.json``: how far a run in progress is, for people and ``whywrong status``; nothing depends on it."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from whywrong.core.errors import EnvironmentFailure
from whywrong.runs.store.files import BLANK, MARK, commit, intact, open_plain
from whywrong.runs.store.layout import PROGRESS

EVERY = 10.0  # seconds between two writes
_MOST_BYTES = 65_536


class ProgressFile:
    """Writes the progress of a run to its folder every 10 seconds; a shorter run leaves no file.

    Args:
        folder: The run folder.
        workers: Number of workers asked for.
        clock: Seconds, increasing.
    """

    def __init__(self, folder: Path, workers: int, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._workers, self._clock = folder, workers, clock
        self._stage, self._begun, self._first = "", clock(), 0
        self._written = clock()

    def show(self, stage: str, done: int, total: int, **more: Any) -> None:
        """Record the progress of a stage, and write it unless that was done lately.

        Args:
            stage: Its name.
            done: Finished items or errors of this call.
            total: All that it has to do.
            more: ``errors``, ``failed``, ``passes``, ``share`` and ``method`` of the progress.
        """
        now = self._clock()
        if stage != self._stage:
            self._stage, self._begun, self._first = stage, now, done
        if now - self._written < EVERY:
            return
        self._written = now
        seconds, fresh = now - self._begun, done - self._first
        share = more.get("share")
        part = share if share is not None else done / total if total else None
        rate = fresh / seconds if fresh > 0 and seconds > 0 else None
        left = seconds * (1 - part) / part if share is not None and part else (total - done) / rate if rate else None
        record = {
            "stage": stage,
            "done": done,
            "total": total,
            **more,
            "share": part,
            "workers": self._workers,
            "seconds": round(seconds, 1),
            "per_second": None if rate is None else round(rate, 3),
            "seconds_left": None if left is None else round(max(left, 0.0), 1),
            "written": time.time(),
            "pid": os.getpid(),
            "seal": (MARK + BLANK).decode(),
        }
        with contextlib.suppress(EnvironmentFailure):  # the next commit of results says so if the disk fails
            commit(self._folder / PROGRESS, (json.dumps(record) + "\n").encode())

    def close(self) -> None:
        """Remove the file of a run that has ended, in whatever way."""
        with contextlib.suppress(OSError):
            (self._folder / PROGRESS).unlink(missing_ok=True)


def read_progress(folder: Path) -> Mapping[str, Any] | None:
    """Read the progress that a run wrote last.

    None if there is none, or it is damaged.

    Raises:
        RunFolderError: A link or a device is in its place.
    """
    path = folder / PROGRESS
    if not os.path.lexists(path):
        return None
    try:
        with open_plain(path) as file:
            content = file.read(_MOST_BYTES + 1)
        found = json.loads(content) if len(content) <= _MOST_BYTES and intact(path) else None
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
