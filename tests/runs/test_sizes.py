"""Shards grow with the data, and results do not depend on their size."""

from __future__ import annotations

import pytest
from tests.runs import kit

from whywrong.runs import identity
from whywrong.runs.sizes import shard_size


@pytest.mark.parametrize(
    ("items", "size"),
    [(0, 256), (100_000, 256), (100_001, 2048), (10_000_001, 2048)],
)
def test_shards_grow_with_the_number_of_items(items, size):
    assert shard_size(items, 256) == size


def test_the_size_of_shards_changes_no_result(tmp_path, monkeypatch):
    source = kit.array_source(tmp_path, 40)
    many = kit.diagnosed(tmp_path / "many", source)
    monkeypatch.setattr(identity, "SHARD_SIZE", 40)
    one = kit.diagnosed(tmp_path / "one", source)
    assert (one.shards(), many.shards()) == ([0], [0, 1, 2, 3, 4])
    assert kit.tables(one) == kit.tables(many)


def test_a_resumed_run_keeps_the_size_of_its_shards(tmp_path, monkeypatch):
    source = kit.array_source(tmp_path, 40)
    kit.diagnosed(tmp_path / "run", source, images=10)
    monkeypatch.setattr(identity, "SHARD_SIZE", 40)
    run = kit.diagnosed(tmp_path / "run", source)
    assert run.meta["shard_size"] == kit.SHARD
    assert len(run.shards()) == 5
