"""Runs in processes that end before their time, for the tests of resuming."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path
from typing import Any

from tests.runs import kit

CONTEXT = multiprocessing.get_context("forkserver")  # children share the imports, which take seconds
CONTEXT.set_forkserver_preload(
    ["tests.runs.kit", "whywrong.runs.diagnose", "whywrong.runs.queries.views", "pyarrow.parquet"]
)


def start(folder: Path, data: Path, *, kill_at: int = 0, after: bool = True, **settings: Any) -> Any:
    """Begin a run in another process, which is killed at its ``kill_at``-th commit, before or after the rename."""
    process = CONTEXT.Process(target=_run, args=(folder, data, kill_at, after, settings))
    process.start()
    return process


def commits(folder: Path) -> list[str]:
    """Files that were committed by all runs so far, in order, as paths in the run folder."""
    path = folder.with_suffix(".log")
    return path.read_text().splitlines() if path.exists() else []


def _run(folder: Path, data: Path, kill_at: int, after: bool, settings: dict[str, Any]) -> None:
    import torch

    from whywrong.core.errors import WhyWrongError
    from whywrong.data.sources import open_source
    from whywrong.explain import methods
    from whywrong.runs import identity, interrupts
    from whywrong.runs.interrupts import Interrupted

    torch.set_num_threads(1)
    methods.METHODS = (kit.method(),)
    identity.SHARD_SIZE = kit.SHARD
    interrupts.GRACE = settings.pop("grace", interrupts.GRACE)
    if "largest_file" in settings:
        import resource

        most = settings.pop("largest_file")
        # Python ignores the signal that comes with it: a write takes a part, and the next one fails.
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    rename, seen = os.replace, 0

    def replace(source: Any, target: Any) -> None:
        nonlocal seen
        seen += 1
        if seen == kill_at and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        rename(source, target)
        with open(folder.with_suffix(".log"), "a") as log:
            log.write(os.path.relpath(target, folder) + "\n")
        if seen == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = replace
    delay = settings.pop("delay", 0.0)
    classifier = kit.reader()
    if delay:
        forward = classifier.model.forward

        def slow(x: Any) -> Any:
            time.sleep(delay)
            return forward(x)

        classifier.model.forward = slow
    try:
        kit.diagnosed(folder, open_source(data), classifier=classifier, **settings)
    except Interrupted as error:
        os._exit(error.exit_code)
    except WhyWrongError as error:
        os._exit(error.exit_code)
