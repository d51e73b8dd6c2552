"""What changes how results must be read is said first, gravest first, with what to do."""

from __future__ import annotations

import re

import pytest
from tests.report.fake_run import make_run
from tests.report.test_html import Page

from whywrong.report import write_report
from whywrong.report.doubts import CAUTION, SERIOUS, find_doubts
from whywrong.report.reports import find_reports
from whywrong.report.summary import summarize_run
from whywrong.report.tables import Tables


def finding(name: str, *, of_all: bool = False, level: str = "warn") -> dict:
    return {"level": level, "name": name, "text": f"seen: {name}", **({"of_all": True} if of_all else {})}


def found(run, *findings: dict) -> list:
    run.meta["health"] = list(findings)
    with Tables(run) as tables:
        return find_doubts(run.meta, summarize_run(tables, find_reports(run.meta)))


@pytest.mark.parametrize("name", [*SERIOUS, *CAUTION])
def test_every_finding_that_matters_says_what_was_seen_and_what_to_do(tmp_path, name):
    (doubt,) = found(make_run(tmp_path), finding(name, of_all=True))
    title, action = {**SERIOUS, **CAUTION}[name]
    assert (doubt.title, doubt.seen, doubt.action, doubt.serious) == (title, f"seen: {name}", action, name in SERIOUS)


@pytest.mark.parametrize("name", ["train mode", "small batch"])
def test_a_finding_that_changes_no_reading_is_left_to_the_last_section(tmp_path, name):
    assert found(make_run(tmp_path), finding(name), finding("loading", level="note")) == []


def test_the_gravest_come_first(tmp_path):
    names = ["random", "near chance", "zero gradient", "label order", "not normalised"]
    doubts = found(make_run(tmp_path), *(finding(name, of_all=True) for name in names))
    assert [doubt.seen.removeprefix("seen: ") for doubt in doubts] == [
        "label order", "not normalised", "near chance", "random", "zero gradient"
    ]  # fmt: skip


def test_all_images_overrule_the_first_ones_about_labels(tmp_path):
    assert found(make_run(tmp_path), finding("near chance")) == []
    assert len(found(make_run(tmp_path, waiting=5), finding("near chance"))) == 1
    both = found(make_run(tmp_path), finding("label order"), {**finding("label order", of_all=True), "text": "on all"})
    assert [doubt.seen for doubt in both] == ["on all"]
    assert len(found(make_run(tmp_path), finding("normalised twice"))) == 1


def test_every_image_wrong_is_said_even_of_few(tmp_path):
    (doubt,) = found(make_run(tmp_path, images=6, errors=6))
    assert doubt.serious
    assert "preprocessing" in doubt.action
    assert len(found(make_run(tmp_path, images=12, errors=12), finding("all wrong", of_all=True))) == 1


def test_many_lost_images_are_said(tmp_path):
    assert found(make_run(tmp_path, images=99, failed=1)) == []
    (doubt,) = found(make_run(tmp_path, images=30, failed=3))
    assert "3 of 33" in doubt.seen.replace("\u00a0", " ")


def test_a_sound_run_raises_no_doubt(tmp_path):
    assert found(make_run(tmp_path)) == []
    assert found(make_run(tmp_path, images=0, waiting=9, errors=0)) == []


@pytest.mark.parametrize("name", ["label order", "near chance", "normalised twice", "all wrong", "random", "constant"])
def test_the_report_says_it_above_headline_and_numbers(tmp_path, name):
    run = make_run(tmp_path)
    run.meta["health"] = [finding(name, of_all=True)]
    html = write_report(run).read_text(encoding="utf-8")
    block, headline = html.index('class="doubts'), html.index("<h1")
    assert block < headline < html.index('class="statistics"')
    said = re.sub(r"<[^>]+>", "", html[block:headline])
    title, action = {**SERIOUS, **CAUTION}[name]
    assert f"{title}. Seen: {name}." in said.replace("&#39;", "'")
    assert action in said.replace("&#39;", "'")


def test_hostile_findings_stay_text(tmp_path):
    run = make_run(tmp_path)
    run.meta["health"] = [{"level": "warn", "name": "<script>x", "text": "<img src=x onerror=alert(1)>"}]
    page = Page(write_report(run))
    assert page.tags["script"] == 1
    assert "<img src=x onerror=alert(1)>" in page.words
