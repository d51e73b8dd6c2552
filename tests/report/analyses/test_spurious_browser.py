"""Labelling in a real browser: keys, filters, the file that is downloaded, contrast, width."""

from __future__ import annotations

import pytest
from tests.report.analyses.test_spurious_gallery import HOSTILE, make_search, with_changes
from tests.report.test_browser import CHROMIUM, CONTRAST, PATIENCE, browser, opened, painted, playwright, until

from whywrong.api.spurious import read_labels
from whywrong.core.classes import ClassList
from whywrong.report.analyses.spurious.gallery import write_gallery

__all__ = ["browser"]  # the fixture

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH")


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    return write_gallery(with_changes(make_search(tmp_path_factory.mktemp("search"), HOSTILE), HOSTILE))


def test_labels_set_by_keyboard_are_downloaded_and_read_back(browser, page_file, tmp_path):
    with opened(browser, page_file, accept_downloads=True) as page:
        for key in ("j", "s", "j", "c", "j", "u", "x", "j", "u", "k", "k", "k", "j"):
            page.keyboard.press(key)
        assert page.locator("output").inner_text() == "3 of 24 labelled"
        assert page.locator(".sp-card.here").get_attribute("id") == "c0-2"
        with page.expect_download() as waiting:
            page.get_by_role("button", name="Download labels.csv").click()
        waiting.value.save_as(tmp_path / "labels.csv")
    classes = ClassList(tuple(HOSTILE))
    labels = read_labels(tmp_path / "labels.csv", classes, dict.fromkeys(range(8), 3), "0123456789ab")
    assert labels.words == {(0, 0): "spurious", (0, 1): "core", (1, 0): "unsure"}


def test_filters_leave_what_fits(browser, page_file):
    with opened(browser, page_file) as page:
        page.locator("select[name=verdict]").select_option("harmful")
        assert page.locator(".sp-card:visible").count() == 8
        page.keyboard.press("Escape")
        page.locator("h1").click()
        page.keyboard.press("j")
        page.keyboard.press("s")
        page.locator("select[name=label]").select_option("none")
        assert page.locator(".sp-card:visible").count() == 7
        page.locator("select[name=label]").select_option("core")
        assert page.get_by_text("No component matches.").is_visible()
        page.locator("[data-reset]").click()
        assert page.locator(".sp-card:visible").count() == 24


def test_labels_outlive_a_reload_and_can_be_cleared(browser, page_file):
    with opened(browser, page_file) as page:
        first = page.locator(".sp-card").first
        first.locator("label", has_text="spurious").click()
        assert_label(page, "spurious")
        page.reload()
        painted(page)
        assert_label(page, "spurious")
        first.get_by_role("button", name="clear").click()
        assert_label(page, "")
        assert page.locator("output").inner_text() == "0 of 24 labelled"
        page.reload()
        assert_label(page, "")


def assert_label(page, word: str) -> None:
    """Wait until the first card carries a label, on the page and in what outlives it."""
    first = page.locator(".sp-card").first
    playwright.expect(first).to_have_attribute("data-label", word, timeout=1000 * PATIENCE)
    stored = "([anchor, word]) => Object.values(localStorage).some((text) => JSON.parse(text)[anchor] === word)"
    until(page, stored, [first.get_attribute("id"), word])


def test_maps_can_be_switched_off(browser, page_file):
    with opened(browser, page_file) as page:
        assert page.locator(".sp-look").first.is_visible()
        page.keyboard.press("m")
        assert not page.locator(".sp-look").first.is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1440])
def test_text_has_contrast_and_nothing_sticks_out(browser, page_file, scheme, width):
    with opened(browser, page_file, width=width, color_scheme=scheme) as page:
        page.keyboard.press("j")
        page.keyboard.press("s")
        page.add_style_tag(content="details > * { display: revert } .sp-card { content-visibility: visible }")
        assert page.evaluate(CONTRAST) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
