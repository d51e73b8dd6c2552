"""Damage is named when it is read and never used: by queries, maps, thumbs and the report; reading writes nothing."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
from tests.runs import kit
from tests.runs.damage import content

from whywrong import api
from whywrong.core.errors import RunFolderError
from whywrong.runs.folder import RunFolder
from whywrong.runs.store import files


def _files(run: RunFolder) -> list[Path]:
    return sorted(
        path
        for path in run.path.rglob("*")
        if path.suffix in (".parquet", ".safetensors", ".json") and "quarantine" not in path.parts
    )


@pytest.mark.parametrize("flips", [60, pytest.param(200, marks=pytest.mark.slow)])
def test_a_flipped_bit_in_any_file_is_named_with_the_remedy_and_never_used(tmp_path, flips):
    source = kit.array_source(tmp_path, 20)
    run = kit.diagnosed(tmp_path / "run", source)
    good = kit.tables(run)
    paths = _files(run)
    assert {path.suffix for path in paths} == {".parquet", ".safetensors", ".json"}
    rng, told = np.random.default_rng(9), list[Path]()
    for number in range(flips):
        path = paths[number % len(paths)]
        whole = path.read_bytes()
        changed = bytearray(whole)
        changed[rng.integers(len(whole))] ^= 1 << rng.integers(8)
        path.write_bytes(changed)
        try:
            assert kit.tables(RunFolder(run.path)) == good  # maps of a shard without errors are never read
        except RunFolderError as error:
            told.append(path)
            message = str(error)
            if not (str(path.relative_to(run.path)) in message and "again" in message):
                raise
        path.write_bytes(whole)
    assert set(paths) - set(told) <= set(run.path.glob("maps/*/*/*")) | set(run.thumbs.glob("*"))
    assert len(told) > 0.8 * flips
    assert kit.tables(RunFolder(run.path)) == good


def test_the_report_names_a_damaged_file_and_keeps_the_former_report(tmp_path):
    run = kit.diagnosed(tmp_path / "run", kit.array_source(tmp_path, 20))
    api.write_report(run.path)
    for path in (run.path / "run.json", *sorted(run.items.glob("*")), *sorted(run.path.glob("parts/*/*/*"))):
        whole = path.read_bytes()
        path.write_bytes(whole[:-3] + bytes([whole[-3] ^ 4]) + whole[-2:])
        before = content(run.path)
        with pytest.raises(RunFolderError, match=path.name):
            api.write_report(run.path)
        assert content(run.path) == before
        path.write_bytes(whole)


def test_a_file_that_is_damaged_while_a_run_is_open_is_noticed_by_the_next_question(tmp_path):
    run = kit.diagnosed(tmp_path / "run", kit.array_source(tmp_path, 20))
    errors = run.query("select item_id from errors").to_pylist()
    path = sorted(run.parts("stub").glob("0*.parquet"))[0]
    time.sleep(0.01)
    changed = bytearray(path.read_bytes())
    changed[len(changed) // 3] ^= 8
    path.write_bytes(changed)
    with pytest.raises(RunFolderError, match=r"00000\.parquet: the file is damaged"):
        run.query("select * from stub")
    assert run.query("select item_id from errors").to_pylist() == errors


def test_a_change_that_keeps_size_and_time_of_the_file_is_noticed(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_SETTLED", -(10**18))  # every check is remembered at once
    run = kit.diagnosed(tmp_path / "run", kit.array_source(tmp_path, 20))
    path = sorted(run.items.glob("0*.parquet"))[0]
    files.check_whole(path)
    facts = path.stat()
    time.sleep(0.05)
    changed = bytearray(path.read_bytes())
    changed[100] ^= 1
    path.write_bytes(changed)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    with pytest.raises(RunFolderError, match="damaged"):
        files.check_whole(path)


def test_a_check_is_done_once_per_file_while_it_does_not_change(tmp_path, monkeypatch):
    run = kit.diagnosed(tmp_path / "run", kit.array_source(tmp_path, 20))
    monkeypatch.setattr(files, "_SETTLED", -(10**18))
    good = kit.tables(RunFolder(run.path))
    checked: list[object] = []
    right = files._seal_is_right
    monkeypatch.setattr(files, "_seal_is_right", lambda file, head: checked.append(file) or right(file, head))
    assert kit.tables(RunFolder(run.path)) == good
    assert len(checked) == 1  # run.json, which is small and always checked


@pytest.mark.parametrize("name", ["items", "parts/predictions", "parts/stub", "maps", "thumbs"])
def test_a_lost_shard_of_a_complete_run_is_named_and_never_passed_over(tmp_path, name):
    run = kit.diagnosed(tmp_path / "run", kit.array_source(tmp_path, 40))
    path = sorted((run.path / name).rglob("0*.*"))[-1]
    path.unlink()
    with pytest.raises(RunFolderError, match=r"(missing|here)"):
        kit.tables(RunFolder(run.path))


def test_what_is_named_as_damaged_is_redone_by_the_same_command(tmp_path):
    source = kit.array_source(tmp_path, 20)
    run = kit.diagnosed(tmp_path / "run", source)
    good = kit.tables(run)
    path = sorted(run.map_files("stub").glob("0*.safetensors"))[0]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(RunFolderError, match="run the same whywrong diagnose again"):
        kit.tables(RunFolder(run.path))
    with pytest.warns(UserWarning, match="put into quarantine"):
        kit.diagnosed(run.path, source)
    assert kit.tables(RunFolder(run.path)) == good
