"""The disk fails or loses what was not synced, at every single call: what is committed stays, and the run goes on."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.runs import crash, kit
from tests.runs.faults import PASSED_OVER, Disk

from whywrong.core.errors import EnvironmentFailure, RunFolderError
from whywrong.data.sources import Source
from whywrong.runs.folder import RunFolder
from whywrong.runs.store.files import intact
from whywrong.runs.store.layout import parse_lock


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What is found out once for all tests."""
    return {"folder": tmp_path_factory.mktemp("undisturbed")}


@pytest.fixture
def expected(kept: dict[str, Any]) -> tuple[Source, dict[str, Any]]:
    """Data, and what an undisturbed run says of them."""
    if "expected" not in kept:
        source = kit.array_source(kept["folder"], 6)
        kept["expected"] = source, kit.tables(kit.diagnosed(kept["folder"] / "run", source))
    return kept["expected"]


def _points(first: int, names: list[str], few: int | None) -> list[int]:
    """Calls to fail, counted from 1: all, or a few that are spread over them."""
    step = 1 if few is None else max(1, len(names) // few)
    return list(range(1 + first % step, len(names) + 1, step))


def _ends_cleanly(folder: Path, source: Source, disk: Disk, name: str) -> None:
    """Run on a disk that fails: an error that says so, or nothing where the call that failed does not matter."""
    try:
        kit.diagnosed(folder, source)
    except EnvironmentFailure:
        pass
    except RunFolderError:
        assert disk.number == errno.EROFS, name  # the folder that was named is to blame, not the disk
    else:
        assert set(disk.failed) <= PASSED_OVER, name
    disk.at = 0
    assert all(intact(path) for path in _whole(folder))


KINDS = [(errno.ENOSPC, True), (errno.EIO, False), (errno.EROFS, True)]


@pytest.mark.parametrize("few", [3, pytest.param(None, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("number", "lasting"), KINDS, ids=("full", "once", "read-only"))
def test_an_error_at_any_call_ends_cleanly_and_the_run_is_resumed(
    tmp_path, monkeypatch, expected, kept, number, lasting, few
):
    source, said = expected
    disk = Disk(monkeypatch, tmp_path / "counted")
    if "calls" not in kept:
        kit.diagnosed(tmp_path / "counted", source)
        kept["calls"] = disk.names
    calls = kept["calls"]
    assert {"open", "write", "write file", "close", "close file", "fsync", "replace", "link", "mkdir"} <= set(calls)
    for at in _points(7 * number, calls, few):
        folder = tmp_path / f"run{at}"
        disk.begin(at, folder, number, lasting)
        _ends_cleanly(folder, source, disk, calls[at - 1])
        whole = {path: inode for path, inode in _whole(folder).items() if path.name != "run.json"}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert kit.tables(kit.diagnosed(folder, source)) == said, calls[at - 1]
        assert not list(folder.rglob(".*"))
        again = _whole(folder)
        tables = [path for path in whole if path.suffix == ".parquet"]  # maps go before the table that vouches for them
        assert [again[path] for path in tables] == [whole[path] for path in tables]
        shutil.rmtree(folder)


@pytest.mark.parametrize("few", [3, pytest.param(None, marks=pytest.mark.slow)])
def test_an_error_while_damage_is_repaired_ends_cleanly_and_the_run_is_resumed(tmp_path, monkeypatch, expected, few):
    source, said = expected
    run = kit.diagnosed(tmp_path / "damaged", source)
    for path in (run.predictions / "00000.parquet", run.map_files("stub") / "00000.safetensors"):
        path.write_bytes(path.read_bytes()[:-40])
    (run.path / ".report.html.k3_x9a0b").write_text("")
    warnings.simplefilter("ignore")
    shutil.copytree(run.path, tmp_path / "counted")
    disk = Disk(monkeypatch, tmp_path / "counted")
    kit.diagnosed(tmp_path / "counted", source)
    calls = disk.names
    for at in _points(5, calls, few):
        folder = tmp_path / f"run{at}"
        disk.root = ""
        shutil.copytree(run.path, folder)
        damaged = [path for path in _sealed(folder) if not intact(path)]
        disk.begin(at, folder, errno.EIO)
        try:
            kit.diagnosed(folder, source)
        except EnvironmentFailure:
            pass
        else:
            assert set(disk.failed) <= PASSED_OVER, calls[at - 1]
        disk.at = 0
        assert all(intact(path) for path in _whole(folder) if path not in damaged and "quarantine" not in path.parts)
        assert kit.tables(kit.diagnosed(folder, source)) == said, calls[at - 1]
        disk.root = ""
        shutil.rmtree(folder)


def test_writes_that_take_only_a_part_are_completed(tmp_path, monkeypatch, expected):
    source, said = expected
    disk = Disk(monkeypatch, tmp_path / "run")
    disk.short = True
    held: list[bytes] = []
    lock = tmp_path / "run" / "lock"
    run = kit.diagnosed(tmp_path / "run", source, progress=lambda _: held.append(lock.read_bytes()))
    assert (parse_lock(held[0]) or {}).get("pid") == os.getpid()
    assert all(intact(path) for path in _sealed(run.path))
    assert kit.tables(run) == said
    assert disk.names.count("write file") > 40


LIMITS = [10, 3000, *(pytest.param(most, marks=pytest.mark.slow) for most in (0, 100, 300, 1000, 2000, 4000))]


@pytest.mark.skipif(os.name == "nt", reason="limits on files are of POSIX")
@pytest.mark.parametrize("most", LIMITS)
def test_a_limit_of_the_system_on_files_ends_cleanly_and_the_run_is_resumed(tmp_path, expected, most):
    """No stand-in here: pyarrow and the rest meet a write that takes a part, and then a real error."""
    source, said = expected
    folder = tmp_path / "run"
    process = crash.start(folder, Path(source.spec.path), largest_file=most)
    process.join()
    assert process.exitcode == 3
    assert all(intact(path) for path in _whole(folder))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert kit.tables(kit.diagnosed(folder, source)) == said
    assert not list(folder.rglob(".*"))


@pytest.mark.parametrize("step", [12, pytest.param(1, marks=pytest.mark.slow)])
def test_a_power_loss_at_any_moment_leaves_all_that_was_committed(tmp_path, monkeypatch, expected, step):
    source, said = expected
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
        assert kit.tables(again) == said
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

    from whywrong.runs.store import shards

    real = shards.commit
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", fsync)
        patched.setattr(shards, "commit", commit)
        yield disk
    disk.moments.append((disk.durable(root), list(disk.committed)))


def _whole(folder: Path) -> dict[Path, int]:
    """Files of a run that carry their names, with their inodes."""
    return {path: path.stat().st_ino for path in _sealed(folder) if not path.name.startswith(".")}


def _sealed(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.suffix in (".parquet", ".safetensors", ".json")]


@pytest.mark.parametrize(("now", "zone"), [(0.0, "Pacific/Kiritimati"), (2**31 + 86_400.0, "America/St_Johns")])
def test_clock_and_time_zone_change_no_result(tmp_path, monkeypatch, expected, now, zone):
    import time

    source, said = expected
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
        assert kit.tables(RunFolder(run.path)) == said
        monkeypatch.setattr(time, "time", lambda: now - 1e6)  # the clock jumps back between two calls
        again = kit.diagnosed(run.path, source)
        assert kit.tables(again) == said
    finally:
        monkeypatch.undo()
        time.tzset()


def _gmtime(seconds: float) -> Any:
    import datetime

    return (datetime.datetime(1970, 1, 1) + datetime.timedelta(seconds=seconds)).timetuple()
