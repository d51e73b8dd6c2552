"""The verdict on one error in words and numbers."""

from __future__ import annotations

from tests.report.fake_run import make_run
from tests.report.fake_verdicts import add_verdicts, intervention, verdict
from tests.report.test_html import Page

from whywrong.report import write_report
from whywrong.report.analyses.verdict.one_error import why
from whywrong.report.tables import Row

ERROR = {"item_id": "a", "image_id": "b", "label": 0, "predicted": 1}


def told(cause: str, tested: str = "supported", **changed):
    tests = [Row(intervention(ERROR, cause, tested)), Row({**intervention(ERROR, "shift", "untested"), "effect": None})]
    return why(Row({**verdict(ERROR, cause, tested), **changed}), tests, [])


def test_the_mark_says_in_words_whether_a_test_supports_the_cause():
    assert told("spurious").mark.text == "spurious, supported by its test"
    assert told("spurious", "untested").mark.text == "spurious, not tested"
    assert told("undetermined", "untested").mark.text == "undetermined"


def test_the_second_cause_is_named_only_if_it_is_worth_a_look():
    assert told("spurious").second.replace("\u00a0", " ") == "shift (11 %)"
    rare = [{"cause": "spurious", "probability": 0.9}, {"cause": "shift", "probability": 0.04}]
    assert told("spurious", causes=rare).second == ""
    assert told("undetermined", "untested").second == ""


def test_probabilities_are_listed_with_none_of_these_and_the_prediction_set():
    block = told("spurious").blocks[0]
    assert [row[0] for row in block.rows] == ["spurious", "shift", "none of these"]
    assert "90 %" in block.rows[0][2]
    assert block.rows[1][2] == ""


def test_a_test_is_told_with_its_control_in_the_same_line():
    block = told("spurious").blocks[1]
    assert block.summary == "1 of 2 supported"
    name, value, note = (text.replace("\u00a0", " ") for text in block.rows[0])
    assert name == "take spurious away (spurious)"
    assert value == "90 % restored; in comparable images 10 %"
    assert note == "effect 0.8, p 0.02 after Holm; supported"
    assert "n/a" in block.rows[1][2]


def test_missing_texts_leave_no_empty_line():
    empty = dict.fromkeys(("why_text", "for_text", "against_text", "do_text", "lacks", "causes", "ordinary", "set90"))
    found = told("label", "untested", **empty)
    assert (found.sentence, found.because, found.against, found.do, found.lacks) == ("", [], [], "", [])
    assert [block.title for block in found.blocks] == ["Tests of causes"]


def test_an_error_says_why_because_against_and_do_before_its_evidence(tmp_path):
    page = Page(write_report(add_verdicts(make_run(tmp_path))))
    words = page.words[page.words.index("Why, probably") :]
    marks = (
        "Why, probably",
        "Because",
        "Against",
        "Do Cover the cue",
        "Evidence",
        "The model predicts",
        "Tests of causes",
    )
    order = [words.index(mark) for mark in marks]
    assert order == sorted(order)


def test_a_verdict_of_a_repeated_image_is_that_of_its_first(tmp_path):
    run = add_verdicts(make_run(tmp_path, images=20, errors=6, duplicates=2))
    page = Page(write_report(run))
    assert page.words.count("Why, probably") == 6
