"""Stored tables, views and public names as the version before had them, and a run folder that it made.

``make.py`` says how the files here were written. Of stored tables and views nothing may change without a new
``result_version``; public names may be added, and what was there can be called as it was.
"""

from __future__ import annotations

import inspect
import json
import tarfile
from pathlib import Path

import pytest
from tests.golden import make

import whywrong
from whywrong.core.status import Status
from whywrong.runs.folder import RunFolder

HERE = Path(__file__).parent
SCHEMA = json.loads((HERE / "schema.json").read_text(encoding="utf-8"))
NAMES = json.loads((HERE / "names.json").read_text(encoding="utf-8"))
OLD = HERE / "run-0.1.0.tar.xz"


def unpack(folder: Path) -> Path:
    with tarfile.open(OLD) as archive:
        archive.extractall(folder, filter="data")
    return folder / "run"


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """The run of the version before, to be looked at only."""
    return RunFolder(unpack(tmp_path_factory.mktemp("old")))


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of this version."""
    return make.fresh_run(tmp_path_factory.mktemp("fresh") / "run")


def test_every_table_is_stored_with_the_columns_and_types_it_had(fresh):
    from whywrong.explain.spurious.tables import CHANGE_SCHEMA
    from whywrong.explain.spurious.tables import SCHEMA as COMPONENTS

    spurious = {"spurious": make.fields_of(COMPONENTS), "spurious_changes": make.fields_of(CHANGE_SCHEMA)}
    tables = {**make.stored(fresh), **spurious}
    assert {name: tables.get(name) for name in SCHEMA["tables"]} == SCHEMA["tables"]


def test_the_tables_of_verdicts_have_the_columns_and_types_they_had():
    due, tables = json.loads((HERE / "verdict.json").read_text(encoding="utf-8")), make.verdict_tables()
    assert {name: tables.get(name) for name in due} == due


def test_every_view_has_the_columns_and_types_it_had(fresh):
    views = make.described(fresh)
    due = {name: columns for name, columns in SCHEMA["views"].items() if not name.startswith("spurious")}
    for name, columns in due.items():  # ``detailed`` comes with the first rows
        assert [one for one in views[name] if "detailed" not in one] == [
            one for one in columns if "detailed" not in one
        ]


def test_the_views_of_an_old_run_are_what_they_were(old):
    assert make.described(old) == SCHEMA["views"]


@pytest.mark.parametrize("name", sorted(NAMES))
def test_a_public_name_can_be_used_as_before(name):
    value, due = getattr(whywrong, name), NAMES[name]
    assert set(due.get("members", ())) <= set(dir(value))
    if "required" in due:
        by_place, by_keyword, required = due["by_place"], due["by_keyword"], due["required"]
        signature = inspect.signature(value)
        everything = signature.bind(*by_place, **dict.fromkeys(by_keyword))
        assert [everything.arguments[one] for one in by_place] == by_place  # each still at its place
        signature.bind(**dict.fromkeys(required))
    fields = getattr(value, "__dataclass_fields__", {})
    assert set(due.get("fields", ())) <= {*fields, *dir(value)}  # a field may become a property


def test_no_public_name_went_away():
    assert set(NAMES) <= set(whywrong.__all__)


def test_an_old_run_is_read_with_its_evidence(old):
    wrong = old.errors().to_pylist()
    assert len(wrong) == 2
    for method in old.meta["methods"]:
        rows = old.query(f"select distinct item_id, status from {method}").to_pylist()
        assert {row["item_id"] for row in rows} == {row["item_id"] for row in wrong}
        assert Status.OK in {row["status"] for row in rows} <= set(Status)
    assert any("difference" in old.maps("cam", row["item_id"]) for row in wrong)


def test_an_old_run_is_reported_with_every_method(old, tmp_path):
    page = whywrong.write_report(old, tmp_path / "report.html").read_text(encoding="utf-8")
    wrong = old.errors().to_pylist()
    assert all(row["key"] in page and row["predicted_name"] in page for row in wrong)
    assert page.count("<img") + page.count("<svg") >= 5


def test_an_old_run_is_extended_and_keeps_its_predictions(tmp_path):
    folder = unpack(tmp_path)
    before = RunFolder(folder).query("select * from predictions order by item_id").to_pylist()
    classifier = whywrong.load_classifier(make.MODEL)
    run = whywrong.diagnose(classifier, make.DATA, folder, depth="quick", images=14, limit=1)
    after = {row["item_id"]: row for row in run.query("select * from predictions").to_pylist()}
    assert len(after) == 14
    assert make.described(run) == SCHEMA["views"]
    assert [after[row["item_id"]] for row in before] == before
    assert run.query("select count(*) as n from spurious").to_pylist()[0]["n"] == 1
    for method in ("cam", "inverted", "covering"):
        assert run.query(f"select count(distinct item_id) as n from {method}").to_pylist()[0]["n"] == len(run.errors())
