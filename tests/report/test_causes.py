"""Planted causes in the report: beside each error, and summed up."""

from __future__ import annotations

import pyarrow as pa
import pytest
from tests.report.fake_run import make_run

from whywrong.report import write_report
from whywrong.report.causes import planted_causes
from whywrong.report.error_view import build
from whywrong.report.reports import find_reports
from whywrong.report.selection import select
from whywrong.report.summary import summarize_run
from whywrong.report.tables import Names, Tables


@pytest.fixture
def run(tmp_path):
    """A run of which every other error was planted, as two causes."""
    made = make_run(tmp_path)
    items = made._views["items"]
    wrong = set(made._views["errors"]["item_id"].to_pylist())
    causes = []
    for row, item in enumerate(items["item_id"].to_pylist()):
        words = ("spurious (<mark>)", "corruption (fog, severity 3)")[row % 2]
        causes.append(words if item in wrong or row % 5 == 0 else None)
    made._views["items"] = items.append_column("cause", pa.array(causes, pa.string()))
    return made


def test_causes_are_counted_with_what_the_method_says(run):
    with Tables(run) as tables:
        names = Names(run.meta["model"]["classes"])
        reports = find_reports(run.meta)
        chosen, _ = select(tables, reports, 200)
        summary = summarize_run(tables, reports)
        cases = [build(tables, reports, summary, row, names, number) for number, row in enumerate(chosen, 1)]
        found = planted_causes(tables, reports, cases)
        planted = run._views["items"]["cause"].to_pylist()
        wrong = tables.value("select count(*) from errors")
    assert {cause.name for cause in found} == {"spurious", "corruption"}
    assert sum(cause.planted for cause in found) == sum(words is not None for words in planted)
    assert sum(cause.errors for cause in found) == wrong
    assert all(all(cause.texts) and cause.tiles for cause in found)


def test_the_page_shows_the_cause_as_text(run):
    page = write_report(run).read_text("utf-8")
    assert "What was planted" in page
    assert "spurious (&lt;mark&gt;)" in page
    assert "(<mark>)" not in page


def test_without_planted_mistakes_there_is_no_such_section(tmp_path):
    assert "What was planted" not in write_report(make_run(tmp_path)).read_text("utf-8")
