"""The analysis of a run from predictions to tables."""

from __future__ import annotations

import json

from whywrong.verdicts.causes import CLASSES


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


def test_a_cause_is_stated_only_with_a_supported_test(report):
    rows = report.tables["verdicts"].to_pylist()
    probably = [row for row in rows if row["why_text"].startswith("Probably")]
    assert len(probably) == sum(report.record["stated"].values()) > 0
    assert all(row["tested"] == "supported" and row["cause"] != "undetermined" for row in probably)
    assert not any("because" in text for row in rows for text in (row["why_text"], *row["for_text"]))


def test_probabilities_and_ordinary_sum_to_one(report):
    for row in report.tables["verdicts"].to_pylist():
        assert abs(sum(one["probability"] for one in row["causes"]) + row["ordinary"] - 1) < 1e-9
        assert len(row["causes"]) == len(CLASSES) - 1
        assert row["causes"][0]["probability"] == max(one["probability"] for one in row["causes"])


def test_the_errors_that_share_a_mark_are_a_tested_group_with_a_measured_action(report):
    groups = report.tables["groups"].to_pylist()
    mark = next(group for group in groups if group["kind"] == "mark")
    assert not mark["suspected"]
    assert mark["effect"] > 0.5
    assert "lower right" in mark["name"]
    assert {*json.loads(mark["statistics"])} >= {"restored", "control"}
    verdicts = {row["item_id"]: row for row in report.tables["verdicts"].to_pylist()}
    assert {verdicts[item]["group_id"] for item in mark["members"]} == {mark["group_id"]}
    arms = [row for row in report.tables["advice"].to_pylist() if row["group_id"] == mark["group_id"]]
    assert {row["arm"] for row in arms} <= {"nothing", "action", "sham"}


def test_edits_that_change_what_the_images_show_are_not_tried(report):
    assert any("mirroring" in note for note in report.record["notes"])


def test_the_record_counts_the_passes_of_errors_and_reference_apart(report):
    costs, rows = report.record["costs"], report.tables["verdicts"].to_pylist()
    assert costs["forwards"] == sum(row["forwards"] for row in rows)
    assert costs["forwards"] + costs["backwards"] == sum(costs["by_step"].values())
    assert costs["reference"] == report.record["reference"]["passes"] > 0


def test_the_counts_of_the_record_are_those_of_the_rows(report):
    rows = report.tables["verdicts"].to_pylist()
    assert sum(report.record["counts"].values()) == len(rows) == report.record["errors"]
