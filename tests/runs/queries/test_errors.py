"""The tables about errors that a large run stores: the same answers, and none after something changed."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from tests.runs import kit

from whywrong.core.errors import RunFolderError
from whywrong.runs.folder import RunFolder
from whywrong.runs.queries import views
from whywrong.runs.queries.query import only_stored
from whywrong.runs.selection import select_details
from whywrong.runs.store import error_tables
from whywrong.runs.store.shards import read_facts, read_table, shard_name, write_table


@pytest.fixture
def source(tmp_path):
    """Images of which the last is the first one again."""
    pixels, labels = kit.images(40)
    wrong = int((pixels[:, 0, 0, 0] != labels).argmax())
    return kit.saved(tmp_path, np.concatenate([pixels, pixels[wrong][None]]), np.append(labels, labels[wrong]))


@pytest.fixture
def large(tmp_path, source, monkeypatch):
    """A run that counts as large."""
    monkeypatch.setattr(error_tables, "LARGE", 10)
    return kit.diagnosed(tmp_path / "large", source)


def test_a_large_run_says_what_a_small_one_says(large, tmp_path, source, monkeypatch):
    assert error_tables.error_facts(large)["distinct"] is False
    found, details = kit.tables(large), select_details(large, 5)
    assert large.query("select confident from pairs").schema.field(0).type == pa.int64()
    counted = {name: large.query(f"select * from {name} order by all").to_pylist() for name in ("pairs", "errors")}
    monkeypatch.setattr(error_tables, "LARGE", 1000)
    small = kit.diagnosed(tmp_path / "small", source)
    assert error_tables.error_facts(small) is None
    assert kit.tables(small) == found
    assert len(found["maps"]) == len(found["errors"])
    assert select_details(small, 5) == details
    assert small.query(f"select * from ({error_tables.PAIRS}) order by all").to_pylist() == counted["pairs"]
    assert sum(row["images"] for row in counted["pairs"] if row["label"] != row["predicted"]) == len(counted["errors"])


def test_a_run_without_repeated_images_is_joined_once_with_the_same_rows(tmp_path, monkeypatch):
    source = kit.array_source(tmp_path, 40)
    small = kit.tables(kit.diagnosed(tmp_path / "small", source))
    monkeypatch.setattr(error_tables, "LARGE", 10)
    run = kit.diagnosed(tmp_path / "run", source)
    assert error_tables.error_facts(run)["distinct"] is True
    assert kit.tables(run) == small


def test_questions_about_errors_alone_read_neither_listing_nor_predictions(large, monkeypatch):
    asked = []
    define = views._define
    monkeypatch.setattr(views, "_define", lambda *arguments: (asked.append(1), define(*arguments)))
    run = RunFolder(large.path)
    assert len(run.query("select e.key, c.name from errors e join classes c on c.index = e.label"))
    run.locate(run.errors()["item_id"].to_pylist())
    assert asked == []
    run.query("select count(*) from predictions")
    assert asked == [1]


@pytest.mark.parametrize(
    ("sql", "alone"),
    [
        ("select 1 from errors", True),
        ("with e as (select * from pairs) select * from e", True),
        ("select * from errors join items using (item_id)", False),
        ("select table_name from information_schema.columns", False),
        ("select 1", False),
        ("selec", False),
    ],
)
def test_it_is_told_which_questions_are_about_errors_alone(sql, alone):
    assert only_stored(sql) is alone


def test_stored_errors_that_no_longer_follow_from_the_predictions_are_not_used_and_made_again(large, source):
    path = large.predictions / shard_name(0)
    before = len(large.errors())
    table = read_table(path)
    wrong = table["predicted"].to_numpy() != table["label"].to_numpy()
    right = table.set_column(table.schema.get_field_index("predicted"), "predicted", table["label"])
    write_table(path, right, read_facts(path))
    run = RunFolder(large.path)
    assert error_tables.error_facts(run) is None
    assert len(run.errors()) <= before - wrong.sum()
    again = kit.diagnosed(large.path, source)
    assert error_tables.error_facts(again) is not None
    assert len(again.errors()) == len(run.errors())


def test_a_larger_sample_of_images_makes_the_tables_again(tmp_path, source, monkeypatch):
    monkeypatch.setattr(error_tables, "LARGE", 10)
    first = kit.diagnosed(tmp_path / "run", source, images=15).query("select sum(images) as n from pairs")
    second = kit.diagnosed(tmp_path / "run", source, images=30).query("select sum(images) as n from pairs")
    assert (first["n"][0].as_py(), second["n"][0].as_py()) >= (15, 30)
    assert first["n"][0].as_py() < second["n"][0].as_py()


def test_a_damaged_table_of_errors_is_named_and_made_again(large, source):
    path = error_tables.error_table(large, "errors")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(RunFolderError, match=r"errors.*damaged"):
        RunFolder(large.path).errors()
    expected = [row["item_id"] for row in read_table_rows(large)]
    with pytest.warns(UserWarning, match="quarantine"):
        again = kit.diagnosed(large.path, source)
    assert sorted(again.errors()["item_id"].to_pylist()) == sorted(expected)


def read_table_rows(run):
    """The errors by the predictions alone."""
    sql = "select item_id from predictions where status = 'ok' and label is not null and predicted <> label"
    for name in error_tables.ERROR_TABLES:
        error_tables.error_table(run, name).rename(run.path / f"{name}.away")
    rows = RunFolder(run.path).query(sql).to_pylist()
    for name in error_tables.ERROR_TABLES:
        (run.path / f"{name}.away").rename(error_tables.error_table(run, name))
    return rows
