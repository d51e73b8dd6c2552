"""One writer at a time."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import threading
import time
from pathlib import Path

import pytest

from whywrong.core.errors import RunFolderError
from whywrong.runs.store import lock
from whywrong.runs.store.lock import RunLock

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["whywrong.runs.store.lock"])


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


@pytest.mark.parametrize("ahead", [121, 3600, 86_400, 31_536_000, 40 * 31_536_000])
def test_a_silent_lock_from_the_future_is_taken_over_after_one_beat(tmp_path, monkeypatch, ahead):
    monkeypatch.setattr(lock, "_BEAT", 0.2)
    path = tmp_path / "lock"
    path.write_text('{"pid":1,"host":"elsewhere","started":"x"}')
    os.utime(path, (time.time() + ahead, time.time() + ahead))
    with RunLock(tmp_path):
        assert json.loads(path.read_text())["pid"] == os.getpid()


def test_a_lock_from_the_future_whose_holder_gives_signs_is_respected(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "_BEAT", 0.4)
    path = tmp_path / "lock"
    path.write_text('{"pid":1,"host":"elsewhere","started":"x"}')
    os.utime(path, (time.time() + 9000, time.time() + 9000))
    beat = threading.Timer(0.2, lambda: os.utime(path, (time.time() + 9001, time.time() + 9001)))
    beat.start()
    with pytest.raises(RunFolderError, match="it last gave a sign 0 s ago"), RunLock(tmp_path):
        pass


@pytest.mark.parametrize("host", ["null", "3", "[]", "true", '""'])
def test_a_lock_without_a_host_is_taken_over(tmp_path, host):
    (tmp_path / "lock").write_text(f'{{"pid":1,"host":{host},"started":"x"}}')
    if host == '""':
        os.utime(tmp_path / "lock", (1, 1))
    with RunLock(tmp_path):
        pass


@pytest.mark.parametrize("text", ["precious", "{}", "[]", '{"pid":1}', '{"a":1,"host":"x"}', "3", "\ufeff{"])
def test_a_file_named_lock_that_is_none_is_kept(tmp_path, text):
    (tmp_path / "lock").write_text(text)
    with pytest.raises(RunFolderError, match="not a lock of a run"), RunLock(tmp_path):
        pass
    assert (tmp_path / "lock").read_text() == text


def test_a_file_system_without_hard_links_is_locked_too(tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with RunLock(tmp_path):
        assert json.loads((tmp_path / "lock").read_text())["pid"] == os.getpid()
        with pytest.raises(RunFolderError, match="another run is writing here"), RunLock(tmp_path):
            pass
    assert list(tmp_path.iterdir()) == []
