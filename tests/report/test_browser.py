"""The report in a real browser, from a file, with and without JavaScript."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.report.fake_run import make_run

from whywrong import api
from whywrong.report import write_report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on PATH")
playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

PAGE = 24  # tiles of the gallery before more are asked for
PATIENCE = 120  # seconds; on a busy machine a report of 200 errors takes its time
ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip

CONTRAST = """() => {
  const parse = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (rgb) => {
    const [r, g, b] = rgb.slice(0, 3).map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const low = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.textContent.trim() || ["SCRIPT", "STYLE", "OPTION"].includes(element.tagName)) continue;
    const [a, b] = [light(parse(getComputedStyle(element).color)), light(ground(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) low.push([node.textContent.trim().slice(0, 30), element.className, ratio.toFixed(2)].join(" | "));
  }
  return [...new Set(low)].slice(0, 10);
}"""


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    return write_report(make_run(tmp_path_factory.mktemp("run"), images=60, errors=30, failed=1))


@pytest.fixture(scope="module")
def browser() -> Iterator:
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


@contextmanager
def opened(browser, report: Path, width: int = 1280, fragment: str = "", **options) -> Iterator:
    """The page, whose console must stay silent and which must ask for nothing but itself."""
    options = {"reduced_motion": "reduce", **options}
    context = browser.new_context(viewport={"width": width, "height": 900}, **options)
    page = context.new_page()
    page.set_default_timeout(1000 * PATIENCE)
    asked, said = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    visit(page, report.as_uri() + fragment)
    if options.get("java_script_enabled", True):
        page.evaluate("for (const fold of document.querySelectorAll('.further')) fold.open = true")
    yield page
    assert said == []
    assert {url.partition("#")[0] for url in asked if not url.startswith("data:")} == {report.as_uri()}
    context.close()


def visit(page, address: str) -> None:
    """Open an address; a click before the first paint may be dropped by the browser, so wait for it."""
    page.goto(address)
    painted(page)


def painted(page) -> None:
    """Wait until something of the page is on the screen."""
    until(page, "() => performance.getEntriesByName('first-contentful-paint').length > 0")


def until(page, condition: str, argument: object = None) -> None:
    """Wait until a function of the page is true. The page's policy keeps ``wait_for_function`` from asking twice."""
    deadline = time.monotonic() + PATIENCE
    while not page.evaluate(condition, argument):
        assert time.monotonic() < deadline, condition
        page.wait_for_timeout(10)


def shown(page) -> int:
    """The number of errors that the filter leaves; the gallery holds the first 24 of them until more are asked for."""
    if not page.locator("output").is_visible():
        return page.locator(".gallery > li:visible").count()
    number = int(page.locator("output").inner_text().split()[0])
    assert page.locator(".gallery > li:visible").count() == min(number, PAGE)
    return number


def whole_gallery(page) -> None:
    """Ask for more errors until all are in the gallery."""
    while page.locator(".further-tiles button").is_visible():
        page.locator(".further-tiles button").click()


def with_all(report: Path, *marks: str) -> str:
    """The anchor of the first error whose section has all these marks."""
    found = re.findall(r'<article class="case" id="(e\d+)"(.*?)</article>', report.read_text("utf-8"), re.S)
    return next(anchor for anchor, text in found if all(mark in text for mark in marks))


def test_the_gallery_filters_by_pair_and_name_and_comes_back(browser, report):
    with opened(browser, report) as page:
        assert shown(page) == 30
        pair = page.locator(".confused .pair").first
        number = int(pair.locator(".number").inner_text().split()[0])
        pair.click()
        assert shown(page) == number
        assert page.locator("output").inner_text() == f"{number} of 30 shown"
        page.get_by_role("button", name="Show all").first.click()
        assert shown(page) == 30
        page.locator("input[name=text]").fill("photo_003")
        assert shown(page) == 1
        page.locator("input[name=text]").fill("no such thing")
        assert page.get_by_text("No error matches all filters.").is_visible()
        page.locator("[data-reset]").click()
        assert shown(page) == 30


def test_the_gallery_filters_by_trust_and_by_patches_together(browser, report):
    with opened(browser, report) as page:
        for name in ("trust", "enough"):
            menu = page.locator(f"select[name={name}]")
            for option in menu.locator("option").all()[1:]:
                menu.select_option(option.get_attribute("value"))
                assert option.inner_text().endswith(f"({shown(page)})")
            menu.select_option("")
        page.locator("select[name=trust]").select_option("semantic")
        page.locator("select[name=enough]").select_option("1")
        found = page.eval_on_selector_all(
            ".gallery > li", "all => all.map((e) => [e.dataset.trust, e.dataset.enoughOrder])"
        )
        assert found
        assert all(pair == ["semantic", "1"] for pair in found)
        page.get_by_role("button", name="Show all").first.click()
        assert shown(page) == 30
        assert page.locator("select[name=trust]").input_value() == ""


def test_errors_of_which_no_group_is_known_come_last_in_the_order_of_patches(browser, report):
    with opened(browser, report) as page:
        page.locator("select[name=order]").select_option("by-enough")
        whole_gallery(page)
        sizes = page.eval_on_selector_all(".gallery > li", "all => all.map((e) => Number(e.dataset.enoughOrder))")
        known = [size for size in sizes if size >= 0]
        assert sizes == [*sorted(known), *[-1] * (len(sizes) - len(known))]
        assert len(known) < len(sizes)


def test_a_run_without_these_methods_has_no_such_menus(browser, tmp_path):
    with opened(browser, write_report(make_run(tmp_path, methods=("inverted", "cam")))) as page:
        assert page.locator("select[name=trust], select[name=enough], option[value=by-enough]").count() == 0
        page.locator("select[name=order]").select_option("near")
        assert shown(page) == 12


def test_a_cell_of_the_matrix_filters_the_gallery(browser, report):
    with opened(browser, report) as page:
        page.locator(".matrix-fold > summary").click()
        cell = page.locator(".matrix td a").first
        number = int(cell.inner_text())
        cell.click()
        assert shown(page) == number
        assert page.evaluate("document.querySelector('.matrix a[aria-current=true]') !== null")


def test_the_dialog_follows_the_order_of_the_tiles(browser, report):
    with opened(browser, report) as page:
        page.locator("select[name=order]").select_option("near")
        whole_gallery(page)
        near = page.eval_on_selector_all(".gallery > li", "all => all.map((e) => e.dataset.difficulty)")
        numbers = [float(value) for value in near]
        assert numbers == sorted(numbers)
        tiles = page.eval_on_selector_all(".gallery > li", "all => all.map((e) => e.dataset.for)")
        page.locator(".gallery a").first.click()
        followed = []
        for _ in range(4):
            followed.append(page.locator("dialog article").get_attribute("id"))
            page.locator("dialog [data-step='1']").click()
        assert followed == tiles[:4]


def test_overlays_switch_by_mouse_and_by_keyboard(browser, report):
    anchor = with_all(report, 'data-kind="region"', 'data-kind="evidence"')
    with opened(browser, report, fragment=f"#{anchor}") as page:
        case = page.locator("dialog article")
        assert case.locator("[data-kind=evidence].layer").is_visible()
        case.locator("input[data-kind=region] + label").click()
        assert case.locator("svg[data-kind=region]").is_visible()
        assert not case.locator("[data-kind=evidence].layer").is_visible()
        case.locator("input[data-kind=region]").focus()
        page.keyboard.press("ArrowLeft")
        assert case.locator("[data-kind=evidence].layer").is_visible()
        assert case.locator(".legend[data-kind=evidence]").is_visible()
        case.locator(".check").click()
        rendering = case.locator("[data-kind=evidence].layer").evaluate("e => getComputedStyle(e).imageRendering")
        assert rendering == "pixelated"


def test_an_overlay_lies_on_the_part_that_the_model_sees(browser, report):
    with opened(browser, report, fragment="#" + with_all(report, 'data-kind="evidence"')) as page:
        case = page.locator("dialog article")
        case.locator("input[data-kind=evidence] + label").click()
        photo, layer = case.locator(".photo").bounding_box(), case.locator(".layer[data-kind=evidence]").bounding_box()
        # The made-up crop is the middle square, 7/8 of the height, of a 4 : 3 photograph.
        assert layer["height"] / photo["height"] == pytest.approx(0.875, abs=0.01)
        assert layer["width"] == pytest.approx(layer["height"], rel=0.02)
        assert layer["x"] - photo["x"] == pytest.approx((photo["width"] - layer["width"]) / 2, abs=1)


def test_patches_that_are_hidden_cover_the_photograph_by_keyboard(browser, report):
    with opened(browser, report, fragment="#" + with_all(report, 'data-kind="enough"', 'data-kind="breaking"')) as page:
        case = page.locator("dialog article")
        case.locator("input[data-kind=enough] + label").click()
        assert case.locator("svg[data-kind=enough]").is_visible()
        assert case.locator(".legend[data-kind=enough]").is_visible()
        case.locator("input[data-kind=enough]").focus()
        page.keyboard.press("ArrowRight")
        assert not case.locator("svg[data-kind=enough]").is_visible()
        assert case.locator("svg[data-kind=breaking]").is_visible()


def test_the_slider_mixes_the_image_with_its_counterfactuals_by_keyboard(browser, report):
    with opened(browser, report, fragment="#" + with_all(report, "f-wrong", "f-true")) as page:
        panel = page.locator("dialog .morph")
        panel.scroll_into_view_if_needed()
        slider = panel.get_by_role("slider")

        def opacity(role: str) -> float:
            return float(panel.locator(f".f-{role} img").evaluate("e => getComputedStyle(e).opacity"))

        assert (opacity("true"), opacity("wrong"), opacity("image")) == (0, 0, 1)
        slider.focus()
        page.keyboard.press("ArrowRight")
        assert (opacity("true"), opacity("wrong")) == (0.05, 0)
        page.keyboard.press("End")
        assert (opacity("true"), opacity("wrong")) == (1, 0)
        assert slider.get_attribute("aria-valuetext").startswith("100 % of the way to ")
        page.keyboard.press("Home")
        assert (opacity("true"), opacity("wrong")) == (0, 1)
        boxes = [panel.locator(f".f-{role} img").bounding_box() for role in ("true", "image", "wrong")]
        assert boxes[0] == boxes[1] == boxes[2]


def test_without_javascript_the_pictures_stand_side_by_side(browser, report):
    with opened(browser, report, java_script_enabled=False) as page:
        panel = page.locator(".morph", has=page.locator(".f-wrong")).filter(has=page.locator(".f-true")).first
        assert not panel.locator(".slide").is_visible()
        lefts = [panel.locator(f".f-{role} img").bounding_box()["x"] for role in ("wrong", "image", "true")]
        assert lefts == sorted(set(lefts))
        assert panel.locator("figcaption").nth(1).text_content() == "as it is"
        opacities = panel.locator(".frame img").evaluate_all("all => all.map((e) => getComputedStyle(e).opacity)")
        assert opacities == ["1", "1", "1"]


def test_a_change_that_is_not_trusted_is_small_and_grey(browser, report):
    with opened(browser, report, fragment="#" + with_all(report, 'class="doubt"')) as page:
        picture = page.locator("dialog .doubt img").first
        picture.scroll_into_view_if_needed()
        assert picture.bounding_box()["width"] <= 60
        assert "grayscale(1)" in picture.evaluate("e => getComputedStyle(e).filter")
        assert "explanation" in page.locator(".doubt p").first.inner_text()


def test_a_chart_and_its_table_hold_the_same_points(browser, report):
    with opened(browser, report, fragment="#" + with_all(report, 'class="plot"')) as page:
        panel = page.locator("article .panel", has=page.locator("svg.plot")).first
        assert panel.locator("circle").count() == 26
        assert not panel.locator("table").is_visible()
        panel.locator("summary").click()
        assert panel.locator("tbody tr").count() == 13


def test_next_follows_the_filter(browser, report):
    with opened(browser, report) as page:
        page.locator("select[name=trust]").select_option("semantic")
        shown_ids = page.eval_on_selector_all(".gallery > li", "all => all.map((e) => e.dataset.for)")
        page.locator(".gallery a").first.click()
        page.locator(f"#{shown_ids[0]} [data-step='1']").click()
        assert page.evaluate("location.hash") == f"#{shown_ids[1]}&trust=semantic"
        assert page.locator(f"#{shown_ids[1]} .place").inner_text() == f"2 of {len(shown_ids)} in the filter"


def test_everything_but_the_filters_works_without_javascript(browser, report):
    with opened(browser, report, java_script_enabled=False) as page:
        assert not page.locator(".filters").is_visible()
        assert page.locator(".gallery > li:visible").count() == PAGE
        page.locator(".page > summary").click()
        assert page.locator(".gallery > li:visible").count() == 30
        case = page.locator("article", has=page.locator("input[data-kind=region]")).first
        case.locator("input[data-kind=region] + label").click()
        assert case.locator("svg[data-kind=region]").is_visible()
        block = case.locator(".blocks details").first
        assert not block.locator("table").is_visible()
        block.locator("summary").click()
        assert block.locator("table").is_visible()
        page.locator(".gallery a").nth(4).click()
        playwright.expect(page).to_have_url(re.compile("#e5$"), timeout=1000 * PATIENCE)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_has_enough_contrast(browser, report, scheme):
    with opened(browser, report, color_scheme=scheme) as page:
        assert page.evaluate(CONTRAST) == []


@pytest.mark.parametrize("width", [360, 768, 2560])
def test_the_page_fits_its_window(browser, report, width):
    with opened(browser, report, width=width) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_keyboard_reaches_the_content_first(browser, report):
    with opened(browser, report) as page:
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the report"


def test_it_prints_without_the_controls(browser, report):
    with opened(browser, report) as page:
        page.emulate_media(media="print")
        assert not page.locator(".filters").is_visible()
        page.locator("article .photo").first.wait_for(state="visible")
        assert len(page.pdf(format="A4")) > 50_000


def planted_alone(run: Path) -> None:
    """The run of the demo, with the cheapest method on a few errors and without verdicts."""
    model, data = api.DEMO
    api.diagnose(api.load_classifier(model), data, run, methods=["cam"], limit=12)


def the_demo(run: Path) -> None:
    demo = [sys.executable, "-m", "whywrong", "demo", "--out", str(run)]
    subprocess.run(demo, check=True, capture_output=True, timeout=840)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("make", [planted_alone, pytest.param(the_demo, marks=pytest.mark.slow)])
def test_the_report_of_the_demo_shows_the_true_causes(browser, tmp_path, make):
    make(tmp_path / "demo")
    with opened(browser, tmp_path / "demo" / "report.html") as page:
        assert page.locator("#causes tbody tr").count() == 7
        page.locator("#causes tbody tr", has_text="spurious").locator("a").first.click()
        assert page.locator("dialog .planted").inner_text() == "Planted cause: spurious (mark)"
        assert "fish" in page.locator("dialog h3").text_content()
        page.keyboard.press("Escape")
        page.fill("input[name=text]", "spurious")
        assert shown(page) == 40
