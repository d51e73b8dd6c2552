"""The first screen of a report with verdicts, and the way from it to an action, in a real browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.report.fake_run import make_run
from tests.report.fake_verdicts import add_verdicts
from tests.report.test_browser import CHROMIUM, browser, opened, shown, until

from whywrong.report import write_report

__all__ = ["browser"]  # the fixture

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH")

BOTTOM = "e => e.getBoundingClientRect().bottom"
FOCUSED = "() => document.activeElement.matches('.gallery a')"
MOST_ELEMENTS = 1500


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    """200 errors of many classes in four groups, one of them tested."""
    names = [f"a class with the number {n}" for n in range(60)]
    run = make_run(tmp_path_factory.mktemp("verdicts"), images=300, errors=200, classes=names, side=16)
    return write_report(add_verdicts(run))


def test_the_answer_and_the_next_step_are_seen_without_scrolling(browser, report):
    with opened(browser, report, width=1440) as page:
        assert page.locator(".card").count() == 3
        for bottom in page.locator(".card").evaluate_all(f"all => all.map({BOTTOM})"):
            assert bottom <= 900
        assert page.locator(".next").evaluate(BOTTOM) <= 900


def test_two_hundred_errors_take_few_elements_before_something_is_opened(browser, report):
    with opened(browser, report) as page:
        assert page.evaluate("document.querySelectorAll('*').length") <= MOST_ELEMENTS


def test_a_keyboard_walks_from_the_first_screen_to_an_action(browser, report):
    with opened(browser, report, width=1440) as page:
        for _ in range(30):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.matches('.card .button')"):
                break
        wanted = page.evaluate("document.activeElement.dataset.filter")
        assert wanted == "group=1"
        page.keyboard.press("Enter")
        until(page, FOCUSED)
        number = int(page.locator("select[name=group] option[value='1']").inner_text().split("(")[1].rstrip(")"))
        assert shown(page) == number
        assert page.evaluate("location.hash") == f"#errors&{wanted}"
        page.keyboard.press("Enter")
        until(page, "() => document.querySelector('dialog').open")
        assert page.locator("dialog .do").inner_text() == "Cover the cue."
        page.keyboard.press("j")
        assert page.locator("dialog .place").inner_text() == f"2 of {number} in the filter"
        page.keyboard.press("Escape")
        until(page, FOCUSED)
        assert shown(page) == number


def test_a_filter_by_cause_shows_only_errors_with_its_mark(browser, report):
    with opened(browser, report) as page:
        page.locator("select[name=cause]").select_option("label")
        marks = page.locator(".gallery .mark").all_inner_texts()
        assert marks
        assert set(marks) == {"label"}
