"""Every way to an error in a long report ends at that error, in a real browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.report.fake_run import make_run
from tests.report.test_browser import CHROMIUM, browser, opened, until

from whywrong.report import write_report

__all__ = ["browser"]  # the fixture

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH")

ERRORS = 200
NEAR = 120  # pixels from the top of the window within which the wanted error begins

SETTLED = """async (selector) => {
  const top = () => document.querySelector(selector).getBoundingClientRect().top;
  for (let last = NaN, still = 0; still < 6; ) {
    await new Promise((next) => requestAnimationFrame(next));
    const now = top();
    still = now === last ? still + 1 : 0;
    last = now;
  }
  return top();
}"""


LANDED = f"""async ([selector, near]) => {{
  const settled = await ({SETTLED})(selector);
  return settled >= -1 && settled <= near;
}}"""


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    methods = ("inverted", "cam")
    run = make_run(tmp_path_factory.mktemp("long"), images=ERRORS, errors=ERRORS, methods=methods, side=16)
    return write_report(run)


def top(page, anchor: str) -> float:
    """Where an error begins, in pixels below the top of the window, once nothing moves any more."""
    return page.evaluate(SETTLED, f"#{anchor}")


def assert_shows(page, anchor: str) -> None:
    """Wait until an error begins near the top of the window and stays there."""
    until(page, LANDED, [f"#{anchor}", NEAR])
    assert page.locator(f"#{anchor} h3").is_visible()


def tile(page, number: int):
    """The tile of an error, after as many pages of the gallery as it takes."""
    while page.locator(f".gallery a[href='#e{number}']").count() == 0:
        page.locator(".further-tiles button").click()
    return page.locator(f".gallery a[href='#e{number}']")


every_window = pytest.mark.parametrize("width", [360, 1280, 2560])
every_motion = pytest.mark.parametrize("motion", ["reduce", "no-preference"])


@every_window
@every_motion
def test_a_click_on_a_tile_shows_its_error(browser, report, width, motion):
    with opened(browser, report, width=width, reduced_motion=motion) as page:
        for number in (1, ERRORS // 2, ERRORS):
            tile(page, number).click()
            assert_shows(page, f"e{number}")
            page.keyboard.press("Escape")
            until(page, "() => !document.querySelector('dialog').open")


@every_window
@every_motion
def test_previous_and_next_show_the_neighbours(browser, report, width, motion):
    with opened(browser, report, width=width, reduced_motion=motion) as page:
        tile(page, 150).click()
        for step, anchor in ((1, "e151"), (1, "e152"), (-1, "e151"), (-1, "e150"), (-1, "e149")):
            page.locator("article.case.here").locator(f"[data-step='{step}']").click()
            assert_shows(page, anchor)
            assert page.evaluate("location.hash") == f"#{anchor}"


@every_motion
def test_keys_show_the_neighbours(browser, report, motion):
    with opened(browser, report, reduced_motion=motion) as page:
        tile(page, 150).click()
        for key, anchor in (("j", "e151"), ("j", "e152"), ("k", "e151"), ("ArrowRight", "e152"), ("ArrowLeft", "e151")):
            page.keyboard.press(key)
            assert_shows(page, anchor)
        page.locator("#e151 [data-step='1']").focus()
        page.keyboard.press("Enter")
        assert_shows(page, "e152")


def test_keys_begin_with_the_tile_in_focus_and_stop_at_the_ends(browser, report):
    with opened(browser, report) as page:
        page.keyboard.press("j")
        assert_shows(page, "e1")
        page.keyboard.press("k")
        assert_shows(page, "e1")
        page.keyboard.press("Escape")
        tile(page, 77).focus()
        page.keyboard.press("j")
        assert_shows(page, "e78")
        page.keyboard.press("Escape")
        tile(page, ERRORS).click()
        page.keyboard.press("j")
        assert_shows(page, f"e{ERRORS}")


def test_keys_do_nothing_while_somebody_types(browser, report):
    with opened(browser, report) as page:
        page.locator("input[name=text]").fill("photo")
        page.keyboard.press("j")
        assert page.locator("input[name=text]").input_value() == "photoj"
        assert page.evaluate("document.querySelector('.case.here') === null")


@every_window
@every_motion
@pytest.mark.parametrize("scripts", [True, False], ids=["javascript", "no javascript"])
def test_a_deep_link_shows_its_error(browser, report, width, motion, scripts):
    options = {"reduced_motion": motion, "java_script_enabled": scripts}
    for number in (ERRORS // 2, ERRORS):
        with opened(browser, report, width=width, fragment=f"#e{number}", **options) as page:
            assert_shows(page, f"e{number}") if scripts else assert_shows_without(page, f"e{number}")


def assert_shows_without(page, anchor: str) -> None:
    """Wait until an error is near the top of the window; without JavaScript there are no frames to count."""
    inside = "([selector, near]) => Math.abs(document.querySelector(selector).getBoundingClientRect().top) <= near"
    until(page, inside, [f"#{anchor}", NEAR])


@pytest.mark.parametrize("way", ["Back", "Escape", "gallery"])
@pytest.mark.parametrize("landed", [True, False], ids=["after it landed", "at once"])
def test_back_returns_to_the_tile(browser, report, landed, way):
    with opened(browser, report) as page:
        wanted = tile(page, 170)
        wanted.scroll_into_view_if_needed()
        before = wanted.bounding_box()["y"]
        wanted.click()
        if landed:
            assert_shows(page, "e170")
        else:
            until(page, "() => document.querySelector('.case.here') !== null")
        go_back(page, way)
        restored = "([tile, y, near]) => Math.abs(tile.getBoundingClientRect().top - y) <= near"
        until(page, restored, [wanted.element_handle(), before, NEAR])
        until(page, "() => document.activeElement.getAttribute('href') === '#e170'")
        assert page.evaluate("location.hash") in ("", "#errors")


def go_back(page, way: str) -> None:
    """Leave the dialog and wait until it is closed."""
    if way == "Back":
        page.go_back()
    elif way == "Escape":
        page.keyboard.press("Escape")
    else:
        page.locator("dialog [data-close]").click()
    until(page, "() => document.querySelector('.case.here') === null && !document.querySelector('dialog').open")


@pytest.mark.parametrize("way", ["Back", "Escape"])
def test_back_from_a_neighbour_returns_to_its_tile(browser, report, way):
    with opened(browser, report) as page:
        tile(page, 24).click()
        page.keyboard.press("j")
        assert_shows(page, "e25")
        go_back(page, way)
        until(page, "() => document.activeElement.getAttribute('href') === '#e25'")
        assert page.locator(".gallery a[href='#e25']").is_visible()


def test_a_deep_link_can_be_left_for_the_gallery(browser, report):
    with opened(browser, report, fragment="#e90") as page:
        assert_shows(page, "e90")
        go_back(page, "Escape")
        until(page, "() => document.activeElement.getAttribute('href') === '#e90'")
        assert page.evaluate("location.hash") == "#errors"


def test_an_error_hidden_by_the_filter_is_shown_when_a_link_names_it(browser, report):
    with opened(browser, report) as page:
        page.locator("input[name=text]").fill("photo_00")
        assert page.locator(".gallery a[href='#e150']").count() == 0
        page.evaluate("location.hash = '#e150'")
        assert_shows(page, "e150")
        assert page.locator("output").inner_text() == f"{ERRORS} of {ERRORS} shown"


def test_an_error_can_be_reached_from_its_confusion(browser, report):
    with opened(browser, report) as page:
        links = page.locator("#where .multiples a")
        for index in (0, links.count() // 2, links.count() - 1):
            link = links.nth(index)
            link.click()
            assert_shows(page, link.get_attribute("href").lstrip("#"))
            page.keyboard.press("Escape")
