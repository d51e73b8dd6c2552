"""What is hidden by a filter is said, can be undone, and stands in the address, in a real browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.report.fake_run import make_run
from tests.report.test_browser import CHROMIUM, browser, opened, shown, until
from tests.report.test_landing import assert_shows

from whywrong.report import write_report

__all__ = ["browser"]  # the fixture

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH")


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    names = [f"class {n}" for n in range(20)]
    return write_report(make_run(tmp_path_factory.mktemp("run"), images=40, errors=30, classes=names, side=16))


def sentence(page) -> str:
    """What is shown and in which order, as the gallery says it, in one line."""
    text = " ".join(page.locator("#errors > .reading").first.inner_text().split())
    return text.partition(" An error is harder")[0]  # what follows explains the order


def state(page) -> tuple[str, str, list[str]]:
    """Sentence, count and tiles, as they are seen."""
    tiles = page.eval_on_selector_all(".gallery > li", "all => all.map((e) => e.dataset.for)")
    return sentence(page), page.locator("output").inner_text(), tiles


def choose_pair(page) -> None:
    page.locator(".confused .pair").first.click()


def choose_cell(page) -> None:
    page.locator(".matrix-fold > summary").click()
    page.locator(".matrix td a").last.click()


def choose_suspects(page) -> None:
    page.locator("a[data-filter='suspect=1']").click()


def choose_menu(page) -> None:
    page.locator("select[name=enough]").select_option(index=1)


def choose_words(page) -> None:
    page.locator("input[name=text]").fill("photo_00")


def choose_two(page) -> None:
    choose_menu(page)
    page.locator("input[name=text]").fill("photo_0")


WAYS = [choose_pair, choose_cell, choose_suspects, choose_menu, choose_words, choose_two]
every_way = pytest.mark.parametrize("choose", WAYS, ids=[way.__name__ for way in WAYS])


@every_way
def test_the_sentence_names_the_filter_and_the_count(browser, report, choose):
    with opened(browser, report) as page:
        assert sentence(page) == "All 30 errors are shown. Hardest first."
        choose(page)
        number = shown(page)
        assert 0 < number < 30
        assert sentence(page).startswith(f"{number} of 30 shown: ")
        assert page.locator("#errors > .reading").first.locator(".chip").count() == (2 if choose is choose_two else 1)
        assert page.locator("output").inner_text() == f"{number} of 30 shown"


@every_way
def test_every_filter_can_be_taken_off(browser, report, choose):
    with opened(browser, report) as page:
        choose(page)
        while page.locator(".chip").count():
            page.locator(".chip").first.click()
        assert state(page)[:2] == ("All 30 errors are shown. Hardest first.", "30 of 30 shown")
        assert page.evaluate("location.hash") in ("", "#errors")
        choose_menu(page)
        page.get_by_role("button", name="Show all").first.click()
        assert shown(page) == 30
        assert page.locator(".chip").count() == 0


@every_way
def test_a_reload_and_a_copied_link_show_the_same(browser, report, choose):
    with opened(browser, report) as page:
        choose(page)
        page.locator("select[name=order]").select_option("near")
        before, link = state(page), page.evaluate("location.href")
        assert "Easiest first" in before[0]
        page.reload()
        assert state(page) == before
        page.goto("about:blank")
        page.goto(link)
        assert state(page) == before


def test_the_address_keeps_filter_and_error_together(browser, report):
    with opened(browser, report) as page:
        choose_menu(page)
        inside = page.locator(".gallery > li a").last
        anchor = inside.get_attribute("href").lstrip("#")
        inside.click()
        page.locator(f"#{anchor}.here").wait_for()
        before, link = state(page), page.evaluate("location.href")
        assert "enough=" in link
        page.goto("about:blank")
        page.goto(link)
        assert state(page) == before
        assert_shows(page, anchor)
        assert page.locator(f"#{anchor}.here").count() == 1


def test_back_undoes_a_filter_chosen_by_a_link(browser, report):
    with opened(browser, report) as page:
        choose_pair(page)
        assert shown(page) < 30
        page.go_back()
        until(page, "() => document.querySelector('output').textContent.startsWith('30 ')")
        assert sentence(page) == "All 30 errors are shown. Hardest first."


@pytest.mark.parametrize(
    "fragment",
    [
        "#errors&pair=99-99",
        "#errors&trust=%3Cscript%3E",
        "#e999",
        "#e3&nothing=1",
        "#%ff&text=photo_001",
        "#errors&&&=&",
    ],
)
def test_an_address_that_names_nothing_known_hides_nothing_in_silence(browser, report, fragment):
    with opened(browser, report, fragment=fragment) as page:
        number = shown(page)
        assert number == (1 if "text" in fragment else 30)
        assert sentence(page).startswith(f"{number} of 30 shown" if number < 30 else "All 30 errors are shown.")


def test_a_search_in_the_address_stays_text(browser, report):
    with opened(browser, report, fragment="#errors&text=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E") as page:
        assert shown(page) == 0
        assert page.locator(".chip").first.inner_text() == "search “<img src=x onerror=alert(1)>” ×"
        assert page.locator("#errors > .reading img").count() == 0


def test_an_empty_filter_says_which_chip_to_remove_and_what_that_leaves(browser, report):
    with opened(browser, report) as page:
        choose_menu(page)
        left = shown(page)
        page.locator("input[name=text]").fill("no such thing")
        assert shown(page) == 0
        chips = page.locator(".empty .chip")
        assert chips.count() == 2
        assert chips.last.inner_text() == f"search “no such thing” × ({left} without it)"
        assert chips.first.inner_text().endswith("(0 without it)")
        chips.last.click()
        assert shown(page) == left
        assert page.locator(".empty").is_hidden()
