"""Files that a crash cannot tear and damage cannot change unseen."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from whywrong.core.errors import EnvironmentFailure, RunFolderError
from whywrong.runs.store import files
from whywrong.runs.store.run_file import read_run_file, write_run_file
from whywrong.runs.store.shards import read_facts, read_maps, read_table, write_maps, write_table


def _table(path: Path) -> Path:
    write_table(path, pa.table({"item_id": ["a", "b"], "value": [1.0, float("nan")]}), {"run": "r", "seconds": 1.5})
    return path


def _maps(path: Path) -> Path:
    write_maps(
        path, {"a/map": np.arange(300, dtype=np.float32).reshape(10, 30), "b/map": np.zeros((2, 2), np.uint8)}, "r"
    )
    return path


def _json(path: Path) -> Path:
    write_run_file(path.parent, {"schema": 1, "seed": 3, "model": {"classes": ["a"]}})
    return path


@pytest.mark.parametrize(("write", "name"), [(_table, "t.parquet"), (_maps, "m.safetensors"), (_json, "run.json")])
def test_any_flipped_missing_or_added_byte_is_noticed(tmp_path, write, name):
    path = write(tmp_path / name)
    assert files.intact(path)
    whole = path.read_bytes()
    places = {0, 3, 8, len(whole) - 1, *np.random.default_rng(0).integers(0, len(whole), 60).tolist()}
    for place in places:
        changed = bytearray(whole)
        changed[place] ^= 0x10
        path.write_bytes(changed)
        assert not files.intact(path), place
    for damaged in (whole[:-1], whole[: len(whole) // 2], b"", whole + b"\0"):
        path.write_bytes(damaged)
        assert not files.intact(path)
    path.unlink()
    assert not files.intact(path)


def test_what_was_written_is_read_back(tmp_path):
    table = _table(tmp_path / "t.parquet")
    assert read_table(table)["item_id"].to_pylist() == ["a", "b"]
    assert read_table(table, item_id="b").num_rows == 1
    assert read_facts(table) == {"run": "r", "seconds": 1.5}
    maps = read_maps(_maps(tmp_path / "m.safetensors"), ["a"])
    assert list(maps) == ["a/map"]
    assert maps["a/map"][3, 4] == 94


def test_facts_that_quote_the_seal_do_not_break_it(tmp_path):
    path = tmp_path / "t.parquet"
    write_table(path, pa.table({"k": ["whywrong-seal:" + "0" * 32]}), {"failed": {"x": "whywrong-seal:" + "0" * 32}})
    assert files.intact(path)


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_full_disk_leaves_what_was_there_and_no_rubbish(tmp_path, monkeypatch, call):
    path = _table(tmp_path / "t.parquet")
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if call == "write":
        monkeypatch.setattr(files, "_sealed", full)
    else:
        monkeypatch.setattr(os, call, full)
    with pytest.raises(EnvironmentFailure, match="disk is full") as caught:
        write_table(path, pa.table({"item_id": ["c"]}), {})
    monkeypatch.undo()
    assert caught.value.exit_code == 3
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["t.parquet"]


def test_a_run_file_of_another_format_is_refused_with_the_remedy(tmp_path):
    write_run_file(tmp_path, {"schema": 99})
    with pytest.raises(RunFolderError, match=r"run format 99.*another folder"):
        read_run_file(tmp_path)
