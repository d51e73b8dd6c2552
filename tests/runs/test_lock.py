"""One writer at a time."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from pathlib import Path

import pytest

from whywrong.core.errors import RunFolderError
from whywrong.runs.lock import RunLock

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["whywrong.runs.lock"])


def _hold(folder: Path, ready: multiprocessing.synchronize.Event, done: multiprocessing.synchronize.Event) -> None:
    with RunLock(folder):
        ready.set()
        done.wait(60)


def _enter(folder: Path, start: multiprocessing.synchronize.Barrier, inside: Path) -> None:
    start.wait(60)
    try:
        with RunLock(folder):
            inside.touch()
            time.sleep(0.2)
    except RunFolderError:
        inside.with_suffix(".refused").touch()


def test_a_second_run_is_refused_with_pid_and_host(tmp_path):
    ready, done = CONTEXT.Event(), CONTEXT.Event()
    holder = CONTEXT.Process(target=_hold, args=(tmp_path, ready, done))
    holder.start()
    assert ready.wait(60)
    with pytest.raises(RunFolderError, match=rf"process {holder.pid} on \S+, since 20"), RunLock(tmp_path):
        pass
    done.set()
    holder.join()
    with RunLock(tmp_path):
        assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()
    assert not (tmp_path / "lock").exists()


def test_the_lock_of_a_killed_run_is_taken_over(tmp_path):
    ready, done = CONTEXT.Event(), CONTEXT.Event()
    holder = CONTEXT.Process(target=_hold, args=(tmp_path, ready, done))
    holder.start()
    assert ready.wait(60)
    holder.kill()
    holder.join()
    assert (tmp_path / "lock").exists()
    with RunLock(tmp_path):
        pass


def test_a_lock_of_another_machine_holds_until_it_falls_silent(tmp_path):
    path = tmp_path / "lock"
    path.write_text(json.dumps({"pid": 1, "host": "elsewhere", "started": "2026-01-01T00:00:00Z"}))
    with pytest.raises(RunFolderError, match="process 1 on elsewhere"), RunLock(tmp_path):
        pass
    os.utime(path, (time.time() - 1000, time.time() - 1000))
    with RunLock(tmp_path):
        pass


@pytest.mark.parametrize("rounds", [3, pytest.param(50, marks=pytest.mark.slow)])
def test_of_two_that_start_together_exactly_one_gets_in(tmp_path, rounds):
    (tmp_path / "lock").write_text('{"pid": 1')  # stale, so that both also race for taking it over
    for number in range(rounds):
        start = CONTEXT.Barrier(2)
        marks = [tmp_path / f"{number}-{who}" for who in range(2)]
        both = [CONTEXT.Process(target=_enter, args=(tmp_path, start, mark)) for mark in marks]
        for process in both:
            process.start()
        for process in both:
            process.join()
        assert sum(mark.exists() for mark in marks) >= 1
        assert sum(mark.exists() or mark.with_suffix(".refused").exists() for mark in marks) == 2
        assert sum(mark.with_suffix(".refused").exists() for mark in marks) == 1
