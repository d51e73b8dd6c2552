"""Kills, signals and damage: what is committed stays, what is missing is done, the end is the same."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import numpy as np
import pytest
from tests.runs import crash, kit

from whywrong.core.errors import RunFolderError
from whywrong.data.sources import open_source
from whywrong.runs.folder import RunFolder

COUNT = 48


@pytest.fixture(scope="module")
def unkilled(tmp_path_factory):
    """Data, and what an undisturbed run says of it."""
    folder = tmp_path_factory.mktemp("unkilled")
    kit.array_source(folder, COUNT)
    process = crash.start(folder / "run", folder / "data.npz")
    process.join()
    assert process.exitcode == 0
    return folder / "data.npz", kit.tables(RunFolder(folder / "run"))


@pytest.mark.parametrize("kills", [6, pytest.param(200, marks=pytest.mark.slow)])
def test_kills_at_random_commits_lose_nothing_and_repeat_nothing(tmp_path, unkilled, kills):
    data, expected = unkilled
    rng = np.random.default_rng(kills)
    done, rounds = 0, 0
    while done < kills:
        folder = tmp_path / f"run{rounds}"
        rounds += 1
        while done < kills:
            process = crash.start(folder, data, kill_at=int(rng.integers(1, 7)), after=bool(rng.integers(2)))
            process.join()
            if process.exitcode == 0:
                break
            assert process.exitcode == -signal.SIGKILL
            done += 1
        last = crash.start(folder, data)
        last.join()
        assert last.exitcode == 0
        assert kit.tables(RunFolder(folder)) == expected
        # Maps go before the table that speaks for them: only they may be written twice.
        shards = [path for path in crash.commits(folder) if path.startswith(("items/", "parts/", "thumbs/"))]
        assert len(shards) == len(set(shards))
        assert not list(folder.rglob(".*"))


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("times", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_a_signal_commits_and_ends_with_130_and_the_run_goes_on(tmp_path, unkilled, name, times):
    data, expected = unkilled
    folder = tmp_path / "run"
    for _ in range(times):
        before = len(crash.commits(folder))
        process = crash.start(folder, data, delay=0.05)
        _wait_for(lambda: len(crash.commits(folder)) >= before + 2 or not process.is_alive())  # noqa: B023
        if not process.is_alive():
            break
        _send(process, name)
        process.join()
        assert process.exitcode == 130
        assert not (folder / "lock").exists()
    last = crash.start(folder, data)
    last.join()
    assert last.exitcode == 0
    assert kit.tables(RunFolder(folder)) == expected


def test_what_a_batch_has_done_is_committed_before_a_signal_ends_the_run(tmp_path):
    kit.array_source(tmp_path, 24)
    folder = tmp_path / "run"
    process = crash.start(folder, tmp_path / "data.npz", delay=0.4, batch_size=2)
    _wait_for(lambda: any("parts/predictions" in path for path in crash.commits(folder)))
    time.sleep(0.6)  # in the middle of the second shard of four batches
    _send(process, "SIGINT")
    process.join()
    assert process.exitcode == 130
    assert len(RunFolder(folder).query("select * from predictions")) % 8 != 0


@pytest.mark.parametrize("signals", [1, 2])
def test_a_second_signal_or_the_end_of_the_grace_stops_at_once(tmp_path, signals):
    kit.array_source(tmp_path, 24)
    folder = tmp_path / "run"
    process = crash.start(folder, tmp_path / "data.npz", delay=60.0, grace=0.3 if signals == 1 else 60.0)
    _wait_for((folder / "lock").exists)
    time.sleep(1.0)
    began = time.monotonic()
    for _ in range(signals):
        _send(process, "SIGINT")
        time.sleep(0.2)
    process.join()
    assert process.exitcode == 130
    assert time.monotonic() - began < 20


@pytest.mark.slow
def test_a_signal_reaches_spawned_workers_too(tmp_path, unkilled):
    data, expected = unkilled
    folder = tmp_path / "run"
    process = crash.start(folder, data, workers=2)
    _wait_for(lambda: any("parts/predictions" in str(path) for path in folder.rglob("0*.parquet")))
    _send(process, "SIGTERM")
    process.join()
    assert process.exitcode in (0, 130)  # the last shards may have been done by then
    last = crash.start(folder, data)
    last.join()
    assert last.exitcode == 0
    assert kit.tables(RunFolder(folder)) == expected


@pytest.mark.parametrize("damages", [8, pytest.param(100, marks=pytest.mark.slow)])
def test_damaged_shards_are_put_aside_redone_and_named(tmp_path, damages):
    source = kit.array_source(tmp_path, 40)
    run = kit.diagnosed(tmp_path / "run", source)
    expected = kit.tables(run)
    rng = np.random.default_rng(damages)
    for number in range(damages):
        shards = sorted(
            p for p in run.path.rglob("*") if p.suffix in (".parquet", ".safetensors") and "quarantine" not in p.parts
        )
        path = shards[rng.integers(len(shards))]
        content = bytearray(path.read_bytes())
        kind = ("flip", "cut", "empty", "gone")[number % 4]
        if kind == "flip":
            content[rng.integers(len(content))] ^= 1 << rng.integers(8)
            path.write_bytes(content)
        elif kind == "cut":
            path.write_bytes(content[: rng.integers(len(content))])
        elif kind == "empty":
            path.write_bytes(b"")
        else:
            path.unlink()
        again = _quietly(tmp_path / "run", source)
        assert kit.tables(again) == expected, (path, kind)
        if kind != "gone":
            name = path.relative_to(run.path).as_posix()
            assert any(name in note and "done again" in note for note in again.meta["notes"])
            assert list((run.path / "quarantine").rglob(path.name + ".*"))


def test_a_lost_or_damaged_run_file_is_restored_only_for_the_same_run(tmp_path):
    source = kit.array_source(tmp_path, 20)
    expected = kit.tables(kit.diagnosed(tmp_path / "run", source))
    for damage in (lambda path: path.unlink(), lambda path: path.write_bytes(path.read_bytes()[:-30])):
        damage(tmp_path / "run" / "run.json")
        with pytest.raises(RunFolderError, match="belongs to another run"):
            kit.diagnosed(tmp_path / "run", source, seed=1)
        classifier = kit.reader()
        with pytest.warns(UserWarning, match=r"run\.json was missing or damaged and was written again"):
            again = kit.diagnosed(tmp_path / "run", source, classifier=classifier)
        assert kit.tables(again) == expected
        assert classifier.forwards <= 20 * 12  # the health probe, and nothing of the shards


def test_a_shard_of_another_run_is_never_mixed_in(tmp_path):
    source = kit.array_source(tmp_path, 20)
    run = kit.diagnosed(tmp_path / "run", source)
    expected = kit.tables(run)
    other = kit.diagnosed(tmp_path / "other", source, seed=9)
    path = next(iter(sorted(run.parts("stub").glob("0*.parquet"))))
    path.write_bytes(next(iter(sorted(other.parts("stub").glob("0*.parquet")))).read_bytes())
    assert kit.tables(_quietly(tmp_path / "run", source)) == expected


def _quietly(folder: Path, source) -> RunFolder:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return kit.diagnosed(folder, open_source(source.spec.path))


def _send(process, name: str) -> None:
    import os

    os.kill(process.pid, getattr(signal, name))


def _wait_for(ready, limit: float = 120.0) -> None:
    until = time.monotonic() + limit
    while not ready():
        assert time.monotonic() < until
        time.sleep(0.01)
