"""The analysis of a run from predictions to tables."""

from __future__ import annotations

import pytest
from tests.verdicts import quadrants

from whywrong.api.verdicts import give_verdicts
from whywrong.runs.folder import RunFolder


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return quadrants.source(tmp_path_factory.mktemp("data"), 180)


@pytest.fixture(scope="module")
def run(tmp_path_factory, source) -> RunFolder:
    return quadrants.diagnosed(tmp_path_factory.mktemp("run") / "run", source)


@pytest.fixture(scope="module")
def report(run, source):
    helper = quadrants.classifier(dot=0.0, identity="other")
    return give_verdicts(run, quadrants.classifier(), source, helpers=[helper])


def test_every_error_gets_one_row_and_its_tests(run, report):
    rows = run.query("select item_id, why_text, lacks from verdicts order by item_id").to_pylist()
    assert [row["item_id"] for row in rows] == sorted(row["item_id"] for row in run.errors().to_pylist())
    assert all(row["why_text"] for row in rows)
    tested = {row["item_id"] for row in run.query("select item_id from verdict_interventions").to_pylist()}
    assert tested == {row["item_id"] for row in rows}


def test_a_mark_that_turns_other_images_is_supported_by_giving_it_to_them(report):
    rows = [row for row in report.tables["interventions"].to_pylist() if row["outcome"] == "supported"]
    assert len(rows) >= 5
    assert {(row["cause"], row["direction"]) for row in rows} == {("spurious", "give")}
    assert min(row["restored"] - row["control_reference"] for row in rows) > 0.5


def test_edits_that_change_what_the_images_show_are_not_tried(report):
    assert any("mirroring" in note for note in report.record["notes"])


def test_the_record_counts_the_passes_of_errors_and_reference_apart(report):
    costs, rows = report.record["costs"], report.tables["verdicts"].to_pylist()
    assert costs["forwards"] == sum(row["forwards"] for row in rows)
    assert costs["forwards"] + costs["backwards"] == sum(costs["by_step"].values())
    assert costs["reference"] == report.record["reference"]["passes"] > 0
