"""The disk fails or loses what was not synced, at every single call: what is committed stays, and the run goes on."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.runs import kit
from tests.runs.damage import content

from whywrong.core.errors import EnvironmentFailure, RunFolderError
from whywrong.runs.files import intact
from whywrong.runs.folder import RunFolder

CALLS = ("fsync", "replace", "mkdir", "link")


class Faults:
    """Counts system calls and lets the ``at``-th end with an error, and all after it while ``lasting``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
        self.count, self.at, self.lasting, self.number = 0, 0, False, number
        for name in CALLS:
            monkeypatch.setattr(os, name, self._wrap(getattr(os, name)))

    def _wrap(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **named: Any) -> Any:
            self.count += 1
            if self.at and (self.count == self.at or (self.lasting and self.count > self.at)):
                raise OSError(self.number, os.strerror(self.number))
            return call(*args, **named)

        return wrapped


@pytest.mark.parametrize("step", [17, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("number", "lasting"), [(errno.ENOSPC, True), (errno.EIO, False), (errno.EROFS, True)])
def test_an_error_at_any_call_ends_cleanly_and_the_run_is_resumed(tmp_path, monkeypatch, number, lasting, step):
    source = kit.array_source(tmp_path, 6)
    expected = kit.tables(kit.diagnosed(tmp_path / "whole", source))
    faults = Faults(monkeypatch, number)
    faults.lasting = lasting
    kit.diagnosed(tmp_path / "counted", source)
    total = faults.count
    assert total > 20
    for at in range(1 + number % step, total, step):
        folder = tmp_path / f"run{at}"
        faults.count, faults.at = 0, at
        try:
            kit.diagnosed(folder, source)
        except (EnvironmentFailure, RunFolderError) as error:
            if error.exit_code not in (2, 3):
                raise
        else:
            pytest.fail("the error was passed over")
        faults.at = 0
        if folder.exists():
            assert all(intact(path) for path in _sealed(folder))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert kit.tables(kit.diagnosed(folder, source)) == expected
        assert not list(folder.rglob(".*"))
        shutil.rmtree(folder)


@pytest.mark.parametrize("most", [1, 7, 4096])
def test_short_and_interrupted_writes_are_completed(tmp_path, monkeypatch, most):
    source = kit.array_source(tmp_path, 6)
    expected = content(kit.diagnosed(tmp_path / "whole", source).path)
    import io

    from whywrong.runs import files

    class Slow(io.RawIOBase):
        """A file that takes a few bytes at a time and is interrupted in between."""

        def __init__(self, raw: Any) -> None:
            self.raw, self.calls = raw, 0

        def writable(self) -> bool:
            return True

        def fileno(self) -> int:
            return self.raw.fileno()

        def write(self, data: Any) -> int | None:
            self.calls += 1
            if self.calls % 3 == 0:
                raise InterruptedError(errno.EINTR, "Interrupted system call")
            return self.raw.write(bytes(data[: max(most, len(data) // 50)]))

        def close(self) -> None:
            self.raw.close()
            super().close()

    class Retrying(Slow):
        def write(self, data: Any) -> int | None:  # Python itself repeats an interrupted call
            try:
                return super().write(data)
            except InterruptedError:
                return super().write(data)

    def opened(path: Any, mode: str = "r", **named: Any) -> Any:
        raw = open(path, mode, buffering=0, **named)  # noqa: SIM115 - closed by its wrapper
        return io.BufferedWriter(Retrying(raw))

    monkeypatch.setattr(files, "open", opened, raising=False)
    run = kit.diagnosed(tmp_path / "run", source)
    assert content(run.path).keys() == expected.keys()
    assert all(intact(path) for path in _sealed(run.path))


@pytest.mark.parametrize("step", [12, pytest.param(1, marks=pytest.mark.slow)])
def test_a_power_loss_at_any_moment_leaves_all_that_was_committed(tmp_path, monkeypatch, step):
    source = kit.array_source(tmp_path, 6)
    expected = kit.tables(kit.diagnosed(tmp_path / "whole", source))
    folder = tmp_path / "run"
    with _disk(monkeypatch, folder) as disk:
        kit.diagnosed(folder, source)
    assert len(disk.moments) > 20
    for number, (durable, committed) in enumerate(disk.moments):
        if number % step and number < len(disk.moments) - 1:
            continue
        after = tmp_path / f"after{number}"
        after.mkdir()
        for name, data in durable.items():
            (after / name).parent.mkdir(parents=True, exist_ok=True)
            (after / name).write_bytes(data)
        assert {name for name in committed if not intact(after / name)} == set()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            again = kit.diagnosed(after, source)
        assert kit.tables(again) == expected
        shutil.rmtree(after)


class _Disk:
    """What would survive: contents as of their last sync, under the names as of the last sync of their folder."""

    def __init__(self) -> None:
        self.content: dict[int, bytes] = {}
        self.names: dict[Path, dict[str, int]] = {}
        self.moments: list[tuple[dict[str, bytes], list[str]]] = []
        self.committed: list[str] = []

    def durable(self, root: Path) -> dict[str, bytes]:
        found, todo = {}, [root]
        while todo:
            folder = todo.pop()
            for name, inode in self.names.get(folder, {}).items():
                path = folder / name
                if path in self.names:
                    todo.append(path)
                elif inode in self.content:
                    found[path.relative_to(root).as_posix()] = self.content[inode]
        return found


@contextmanager
def _disk(monkeypatch: pytest.MonkeyPatch, root: Path) -> Iterator[_Disk]:
    disk = _Disk()
    sync = os.fsync

    def fsync(descriptor: int) -> None:
        sync(descriptor)
        facts, path = os.fstat(descriptor), Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        if stat.S_ISDIR(facts.st_mode):
            disk.names[path] = {entry.name: entry.inode() for entry in os.scandir(path)}
            for entry in os.scandir(path):
                if entry.is_dir(follow_symlinks=False):
                    disk.names.setdefault(Path(entry.path), {})
        else:
            disk.content[facts.st_ino] = path.read_bytes()
        disk.moments.append((disk.durable(root), list(disk.committed)))

    def commit(path: Path, data: bytes) -> None:
        real(path, data)
        if path.name != "run.json":
            disk.committed.append(path.relative_to(root).as_posix())

    from whywrong.runs import shards

    real = shards.commit
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fsync)
        patched.setattr(shards, "commit", commit)
        yield disk
    disk.moments.append((disk.durable(root), list(disk.committed)))


def _sealed(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.suffix in (".parquet", ".safetensors", ".json")]


@pytest.mark.parametrize("now", [0.0, 2**31 + 86_400.0])
@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "America/St_Johns"])
def test_clock_and_time_zone_change_no_result(tmp_path, monkeypatch, now, zone):
    import time

    source = kit.array_source(tmp_path, 6)
    expected = kit.tables(kit.diagnosed(tmp_path / "whole", source))
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        started = time.time_ns()
        monkeypatch.setattr(time, "time", lambda: now)
        monkeypatch.setattr(time, "time_ns", lambda: int(now * 1e9) + started % 1000)
        monkeypatch.setattr(time, "gmtime", lambda *given: _gmtime(given[0] if given else now))
        run = kit.diagnosed(tmp_path / "run", source)
        for path in _sealed(run.path):
            os.utime(path, (now, now))
        assert kit.tables(RunFolder(run.path)) == expected
        monkeypatch.setattr(time, "time", lambda: now - 1e6)  # the clock jumps back between two calls
        again = kit.diagnosed(run.path, source)
        assert kit.tables(again) == expected
    finally:
        monkeypatch.undo()
        time.tzset()


def _gmtime(seconds: float) -> Any:
    import datetime

    return (datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=seconds)).timetuple()
