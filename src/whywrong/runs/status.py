"""State of a run from outside: complete, in progress, or stopped, and how far it is."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whywrong.runs.store.layout import LOCK
from whywrong.runs.store.progress_file import read_progress
from whywrong.runs.store.run_file import read_run_file

SILENT = 60.0  # seconds without a sign of the writer, three of its beats, after which it counts as ended


@dataclass(frozen=True, slots=True)
class RunStatus:
    """State of a run.

    Attributes:
        state: ``complete``, ``running``, or ``stopped``, which the same ``diagnose`` resumes.
        items: Items of the data, 0 before the listing.
        silent: Seconds since the last sign of its writer; None if nobody writes.
        progress: Last written progress of the present stage; empty in the first 10 seconds, and unless it is running.
    """

    state: str
    items: int
    silent: float | None
    progress: dict[str, Any]


def run_status(folder: Path) -> RunStatus:
    """Look at a run without reading its tables.

    Raises:
        RunFolderError: There is no run, or its ``run.json`` is damaged.
    """
    meta = read_run_file(folder)
    try:
        silent = max(0.0, time.time() - os.lstat(folder / LOCK).st_mtime)
    except FileNotFoundError:
        silent = None
    running = silent is not None and silent < SILENT
    state = "running" if running else "complete" if meta["complete"] else "stopped"
    progress = dict(read_progress(folder) or {}) if running else {}
    progress.pop("seal", None)
    return RunStatus(state, meta["data"]["items"], silent, progress)
