"""Questions to a run: views that are always there, and no way out of the folder."""

from __future__ import annotations

import json
import math

import pyarrow as pa
import pytest
from tests.runs import kit

from whywrong.core.errors import InputError, RunFolderError
from whywrong.core.result import rows_field
from whywrong.runs.folder import RunFolder
from whywrong.runs.queries.query import json_rows
from whywrong.runs.store.run_file import write_run_file


def test_views_are_those_of_the_design_and_nothing_else(finished):
    rows = finished().query("select distinct table_name as n from information_schema.columns order by 1")
    assert rows["n"].to_pylist() == ["classes", "errors", "failed_items", "items", "predictions", "runner_up", "stub"]


def test_errors_are_the_labelled_items_that_are_read_as_another_class(finished):
    pixels, labels = kit.images(40)
    wrong = {f"images[{i}]" for i in range(40) if pixels[i, 0, 0, 0] != labels[i]}
    rows = finished().errors().to_pylist()
    assert {row["key"] for row in rows} == wrong
    assert all(kit.NAMES[row["label"]] == row["label_name"] for row in rows)
    assert all(kit.NAMES[row["predicted"]] == row["predicted_name"] for row in rows)


@pytest.mark.parametrize(
    "sql",
    [
        "insert into items values (1)",
        "create table t as select 1",
        "copy (select 1) to 'x.csv'",
        "attach 'x.db'",
        "select 1; select 2",
        "",
        "set threads = 1",
        "install httpfs",
        "pragma database_list",
        "select * from read_text('/etc/hostname')",
        "select * from read_csv('/etc/passwd')",
        "select * from glob('/*')",
        "select * from '../data.npz'",
        "select nonsense from items",
        "drop view items",
        "call pragma_version()",
        "export database 'x'",
        "explain analyze select 1",
    ],
)
def test_a_query_can_only_read_the_run(finished, tmp_path, monkeypatch, sql):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError):
        finished().query(sql)
    assert list(tmp_path.iterdir()) == []


def test_lists_that_belong_together_become_rows_and_an_error_without_any_keeps_one(finished, tmp_path, monkeypatch):
    plain = finished().query("select item_id, words from stub").to_pylist()
    schema = kit.StubResult.schema()
    marked = schema.set(schema.get_field_index("words"), rows_field("words", pa.string()))
    monkeypatch.setattr(kit.StubResult, "schema", staticmethod(lambda: marked))
    run = kit.diagnosed(tmp_path / "run", kit.array_source(tmp_path, 40))
    rows = run.query("select item_id, words, level from stub").to_pylist()
    assert any(row["words"] is None for row in plain)
    assert any(len(row["words"] or ()) > 1 for row in plain)
    due = [(row["item_id"], word) for row in plain for word in (row["words"] or [None])]
    assert sorted((r["item_id"], r["words"] or "") for r in rows) == sorted((i, w or "") for i, w in due)
    assert all(row["level"] is not None for row in rows)


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        (("fixed", None), ("ok", None)),
        (("not_fixed_in_budget", None), ("no_answer", None)),
        (("refused", "bad_input: pixels are not finite"), ("bad_input", "pixels are not finite")),
        (("refused", "blank map"), ("refused", "blank map")),
    ],
)
def test_statuses_of_earlier_versions_read_as_those_of_today(tmp_path, monkeypatch, stored, shown):
    plain, schema = kit.StubResult.columns, kit.StubResult.schema()
    for name in ("status", "reason"):
        schema = schema.append(pa.field(name, pa.string()))
    monkeypatch.setattr(kit.StubResult, "schema", staticmethod(lambda: schema))
    monkeypatch.setattr(
        kit.StubResult,
        "columns",
        lambda self: {
            **plain(self),
            **{n: [w] * len(self.level) for n, w in zip(("status", "reason"), stored, strict=True)},
        },
    )
    run = kit.diagnosed(tmp_path / "run", kit.array_source(tmp_path, 10))
    rows = run.query("select distinct status, reason from stub").to_pylist()
    assert [(row["status"], row["reason"]) for row in rows] == [shown]


@pytest.mark.parametrize("sql", ["from items limit 1", "with a as (select 1 as x) select x from a", "describe items"])
def test_the_usual_ways_of_reading_work(finished, sql):
    assert len(finished().query(sql)) > 0


def test_views_are_there_and_typed_before_anything_is_stored(tmp_path):
    right, labels = kit.images(6)
    right[:, 0, 0, :] = labels[:, None]
    run = kit.diagnosed(tmp_path / "run", kit.saved(tmp_path, right, labels))
    assert len(run.query("select level, detailed, words from stub where level > 0")) == 0
    for shard in (tmp_path / "run").rglob("0*.parquet"):
        shard.unlink()
    write_run_file(run.path, {**run.meta, "complete": False})
    empty = RunFolder(tmp_path / "run")
    for view in ("items", "predictions", "errors", "failed_items", "stub"):
        assert len(empty.query(f"select * from {view}")) == 0
    assert empty.query("select confidence, top5, notes, near_tie from errors").schema.types == [
        pa.float64(), pa.list_(pa.int64()), pa.list_(pa.string()), pa.bool_()
    ]  # fmt: skip


def test_json_rows_are_json(finished):
    table = pa.table({"a": [math.nan, math.inf, 1.5], "b": [b"\xff", None, b""], "c": [[{"d": math.nan}], [], None]})
    rows = json_rows(table)
    assert rows == [
        {"a": None, "b": "/w==", "c": [{"d": None}]},
        {"a": None, "b": None, "c": []},
        {"a": 1.5, "b": "", "c": None},
    ]
    json.dumps(json_rows(finished().query("select * from predictions")), allow_nan=False)


def test_a_folder_without_a_run_says_how_to_make_one(tmp_path):
    with pytest.raises(RunFolderError, match=r"no run here.*diagnose --out"):
        RunFolder(tmp_path)


def test_a_damaged_shard_is_named_when_it_is_asked_for(tmp_path):
    run = kit.diagnosed(tmp_path / "run", kit.array_source(tmp_path, 10))
    path = next(run.predictions.glob("0*.parquet"))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises((RunFolderError, InputError), match="00000"):
        RunFolder(tmp_path / "run").query("select * from predictions")
