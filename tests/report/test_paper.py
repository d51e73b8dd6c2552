"""The report on paper and without JavaScript: short, nothing clipped, nothing lost."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.report.fake_run import make_run
from tests.report.test_browser import CHROMIUM, browser, opened, shown, until

from whywrong.report import write_report

__all__ = ["browser"]  # the fixture

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH")

CLIPPED = """() => {
  const width = document.documentElement.clientWidth;
  const seen = (e) => e.checkVisibility() && e.getBoundingClientRect().width > 1;
  const name = (e) => `${e.tagName}.${e.getAttribute("class")}`;
  const out = [];
  for (const e of document.querySelectorAll("main *, header *")) {
    if (!seen(e)) continue;
    const style = getComputedStyle(e);
    if (/auto|scroll/.test(style.overflowX + style.overflowY)) out.push(`${name(e)} scrolls`);
    if (e.getBoundingClientRect().right > width + 1 && !e.closest(".stage, .frames, .multiples")) {
      out.push(`${name(e)} ends at ${e.getBoundingClientRect().right} of ${width}`);
    }
  }
  return [...new Set(out)].slice(0, 8);
}"""


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    """200 errors of 24 classes, with a wide matrix and every method."""
    names = [f"a class with the number {n}" for n in range(24)]
    run = make_run(tmp_path_factory.mktemp("long"), images=400, errors=200, classes=names, failed=3, side=16)
    return write_report(run)


def on_paper(page) -> None:
    """Show the page as it is printed, and wait until the errors that follow in full are there."""
    page.emulate_media(media="print")
    until(page, "() => document.querySelector('.cases > article, .cases > noscript > article') !== null")


def pages(page) -> int:
    return len(re.findall(rb"/Type\s*/Page\b", page.pdf(format="A4", prefer_css_page_size=True)))


def test_two_hundred_errors_take_at_most_twelve_pages(browser, report):
    with opened(browser, report) as page:
        assert 4 <= pages(page) <= 12
        on_paper(page)
        assert page.locator(".gallery > li:visible").count() == 200
        assert page.locator("article:visible").count() == 6
        assert "the first 6 of these errors in full" in page.locator(".paper").inner_text()


def test_a_filtered_report_prints_what_is_filtered(browser, report):
    with opened(browser, report) as page:
        page.locator("input[name=text]").fill("photo_19")
        assert shown(page) == 10
        last = page.locator(".gallery > li").nth(5).get_attribute("data-for")
        on_paper(page)
        assert page.locator(".gallery > li:visible").count() == 10
        assert page.locator("article:visible").count() == 6
        assert page.locator("article:visible").last.get_attribute("id") == last
        assert page.locator("#errors > .reading").first.inner_text().startswith("10 of 200 shown: ")


@pytest.mark.parametrize("scripts", [True, False], ids=["javascript", "no javascript"])
def test_nothing_scrolls_or_is_cut_on_paper(browser, report, scripts):
    with opened(browser, report, width=700, java_script_enabled=scripts) as page:  # A4 between its margins
        on_paper(page)
        assert page.evaluate(CLIPPED) == []


def test_without_javascript_every_error_and_its_evidence_is_there(browser, tmp_path):
    report = write_report(make_run(tmp_path, errors=12, side=16))
    with opened(browser, report, java_script_enabled=False) as page:
        assert page.locator(".gallery > li:visible").count() == page.locator("article.case:visible").count() == 12
        for number in (1, 6, 12):
            case = page.locator(f"#e{number}")
            for switch in case.locator(".view > input[type=radio] + label").all():
                switch.click()
                layer = switch.get_attribute("for").split("-", 1)[1]
                if layer != "photo":
                    assert case.locator(f".layer[data-layer='{layer}']").is_visible()
                    assert case.locator(f".legend[data-layer='{layer}']").is_visible()
            for folded in case.locator("details").all():
                folded.locator("summary").click()
                assert folded.locator("table").first.is_visible()
        assert page.locator("[data-step]:visible").count() == 2 * 12 - 2


def test_pictures_say_what_they_show(browser, report):
    with opened(browser, report) as page:
        silent = page.eval_on_selector_all(
            "img:not([alt]), img[alt=''], svg[role=img]:not([aria-label])", "all => all.map((e) => e.className)"
        )
        assert silent == []
        page.locator(".confused + .more > summary").click()
        described = page.locator("#where .confused .multiples [role=img]").first.get_attribute("aria-label")
        assert re.fullmatch(r"photos/photo_\d+\.jpg: a class with the number \d+, predicted as a class .*", described)


def test_bars_of_one_list_share_zero_and_scale(browser, report):
    with opened(browser, report) as page:
        widths = page.eval_on_selector_all("#where .bar", "all => all.map((e) => e.clientWidth)")
        assert len(widths) > 6
        assert max(widths) - min(widths) <= 1
        numbers = page.eval_on_selector_all("#where .pair .number", "all => all.map((e) => parseInt(e.textContent))")
        lengths = page.eval_on_selector_all("#where .bar i", "all => all.map((e) => e.getBoundingClientRect().width)")
        for number, length in zip(numbers, lengths, strict=True):
            assert abs(length - widths[0] * number / max(numbers)) <= 1.5
