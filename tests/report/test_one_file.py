"""A method is one module, one report file and one line of the registry; nothing else of the package knows its name."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.report import toy_report
from tests.report.test_html import Page
from tests.report.toy_method import ToyConfig, toy
from tests.runs.kit import array_source, diagnosed

import whywrong
from whywrong.core import registry
from whywrong.core.access import Access
from whywrong.core.registry import Method, methods
from whywrong.explain import methods as built_in
from whywrong.runs.folder import RunFolder

SOURCE = Path(whywrong.__file__).parent
TOY = Method(
    name="toy",
    title="whether an image is bright",
    access=Access.SCORES,
    function="tests.report.toy_method:toy",
    config="tests.report.toy_method:ToyConfig",
    report="tests.report.toy_report:TOY",
)


class Point:
    """The entry point of a package that registers the toy."""

    name, value = "toy", "toys:TOY"

    def load(self) -> Method:
        """The line of the registry."""
        return TOY


@pytest.fixture(scope="module", params=["built-in", "plug-in"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunFolder]:
    """A run of the toy, listed among the methods of the package or registered by another one."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "built-in":
            patch.setattr(built_in, "METHODS", (*built_in.METHODS, TOY))
        else:
            patch.setattr(registry, "entry_points", lambda group: [Point()] if group == "whywrong.methods" else [])
        folder = tmp_path_factory.mktemp("toy")
        made = diagnosed(folder / "run", array_source(folder, 40), methods=["toy"])
        whywrong.write_report(made)
        yield made


@pytest.fixture(scope="module")
def page(run: RunFolder) -> Page:
    return Page(run.path / "report.html")


def counted(run: RunFolder, status: str) -> int:
    return run.query(f"select count(*) as n from toy where status = '{status}'").to_pylist()[0]["n"]


def test_its_results_are_a_view_of_the_run(run):
    rows = run.query("select item_id, brightness from toy where status = 'ok'").to_pylist()
    assert len(rows) > 1
    assert {row["item_id"] for row in rows} <= {row["item_id"] for row in run.errors().to_pylist()}
    assert all(0 < row["brightness"] < 1 for row in rows)


def test_every_error_has_its_sentence_overlay_and_numbers(run, page):
    bright = counted(run, "ok")
    assert page.words.count("As toys go, this is a bright") == bright
    assert page.source.count('data-kind="toy" data-look="map" data-signed') == bright
    assert page.source.count('class="layer" data-layer="0" data-kind="toy"') == bright
    assert '.view > [data-layer="0"]:checked ~ .stage > [data-layer="0"]' in page.source
    assert len(re.findall(r"brightness 0\.\d\d of 1", page.words)) == bright


def test_headline_chart_badge_and_filter_are_its_own(run, page):
    bright, refused = counted(run, "ok"), counted(run, "refused")
    assert f"{bright} errors are toys." in page.words
    assert f"Toys of the run {bright} toys are bright." in page.words
    assert page.words.count("bright toy") == bright
    assert f"any toy toy ok ({bright}) toy refused ({refused})" in page.words
    assert page.source.count('data-toy="refused"') == refused


def test_refusals_passes_papers_limits_and_words_are_counted_in(run, page):
    limits, refused = page.words.split("Method and limits")[-1].replace("\u00a0", " "), counted(run, "refused")
    assert refused > 0
    assert f"{refused} toy map{'s' if refused > 1 else ''}: too dim to be a toy" in limits
    for words in (
        "On Toys",
        "A toy explains nothing.",
        "a method that only a test knows",
        "whether an image is bright",
    ):
        assert words in limits
    errors, read = counted(run, "ok") + refused, len(run.query("select 1 from predictions where status = 'ok'"))
    assert f"passes {read + errors} {read + errors} forward" in page.words


def test_its_figure_is_drawn_for_notebooks(run):
    x = torch.rand(3, 3, 8, 8)
    classifier = whywrong.Classifier(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 2)))
    result = toy(classifier, x, torch.zeros(3), keys=torch.arange(3), config=ToyConfig())
    assert whywrong.plot(result, x).get_suptitle() == "3 toys"


@pytest.mark.parametrize("what", ["section", "lead", "summarize", "overview", "badge"])
def test_a_report_that_raises_loses_only_what_it_shows(run, page, tmp_path, monkeypatch, what):
    def broken(*_: object) -> None:
        raise ZeroDivisionError("no <b>toys</b>")

    monkeypatch.setattr(toy_report, "TOY", replace(toy_report.TOY, **{what: broken}))
    less = Page(whywrong.write_report(run, tmp_path / "report.html"))
    assert less.tags["article"] == page.tags["article"]
    assert "toy: its " in less.words.split("Not shown")[1]
    assert "ZeroDivisionError: no <b>toys</b>" in less.words
    assert less.words.count("As toys go") == (0 if what == "section" else page.words.count("As toys go"))
    assert "Not shown" not in page.words


def test_a_method_without_a_report_is_shown_with_its_columns(run, tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "TOY", replace(TOY, report=None))
    monkeypatch.setattr(built_in, "METHODS", tuple(line for line in built_in.METHODS if line.name != "toy"))
    monkeypatch.setattr(registry, "entry_points", lambda group: [Point()] if group == "whywrong.methods" else [])
    plain = Page(whywrong.write_report(run, tmp_path / "report.html"))
    assert plain.words.count("brightness 0.") == len(run.errors())
    assert plain.words.count(f"{TOY.title} refused") == counted(run, "refused")
    assert "reason too dim to be a toy" in plain.words


def test_a_report_that_cannot_be_loaded_is_named(run, tmp_path, monkeypatch):
    monkeypatch.delattr(toy_report, "TOY")
    text = Page(whywrong.write_report(run, tmp_path / "report.html")).words
    assert "toy: its report failed" in text
    assert len(re.findall(r"brightness 0\.\d+", text)) > 0


def test_the_report_names_methods_only_in_their_own_files():
    names = re.compile(rf"\b({'|'.join(methods())})\b")
    outside = [
        f"{path.relative_to(SOURCE)}:{number}: {line.strip()}"
        for path in sorted((SOURCE / "report").rglob("*"))
        if path.suffix in (".py", ".j2", ".css", ".js")
        and not path.is_relative_to(SOURCE / "report" / "methods")
        and not path.is_relative_to(SOURCE / "report" / "analyses")
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if names.search(line) and not line.strip().startswith(">>>")  # an example calls one
    ]
    assert outside == []
