"""A plug-in shows its part of an error; nothing of it reaches the page but plain text and maps made here."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from markupsafe import Markup
from PIL import Image
from tests.report.fake_run import FakeRun, make_run
from tests.report.test_html import HOSTILE, Page

from whywrong.core import registry
from whywrong.core.access import Access
from whywrong.core.registry import Method
from whywrong.report import plug_ins, write_report
from whywrong.report.plug_ins import Shown, SignedMap, View

ERRORS = 4


def view(shown: Shown) -> View:
    """The tiny plug-in: one sentence, one map, one number."""
    [row] = shown.rows
    return View(
        sentences=[f"Hiding the middle costs {shown.wrong} {row['drop']:.1f} logits."],
        maps=[SignedMap(label="Hidden", caption="Logits lost by hiding a cell.", values=shown.maps["drops"])],
        summary=f"{row['drop']:.1f} logits",
        numbers=[("largest drop", f"{row['drop']:.1f} logits", "of 9 cells")],
        caveats=["Hiding may add a cue of its own."],
    )


def silent(shown: Shown) -> None:
    """Has nothing to say."""


def broken(shown: Shown) -> View:
    """Raises on every error."""
    raise KeyError("<b>no such column</b>")


def no_view(shown: Shown) -> Any:
    """Not what was asked for."""
    return {"sentences": ["<b>x</b>"]}


def hostile(shown: Shown) -> View:
    """Everything a page must not take from others."""
    text = " ".join(HOSTILE)
    return View(
        sentences=[Markup("<script>alert(1)</script>"), text],
        maps=[SignedMap(label=text, caption=text, values=np.ones((3, 3)))],
        summary=text,
        numbers=[(text, text, text)],
        caveats=[Markup("<img src=//x onerror=alert(1)>")],
    )


def endless(shown: Shown) -> View:
    """More of everything than anybody reads."""
    return View(
        sentences=["word " * 10_000] * 50,
        maps=[SignedMap(label="m" * 500, caption="c" * 5000, values=np.ones((900, 1300)))] * 9,
        numbers=[("n" * 1000, "v" * 1000, "w" * 1000)] * 500,
        caveats=["caveat " * 1000] * 50,
    )


def run_with(tmp_path, monkeypatch, function: str | None, status: str = "ok") -> FakeRun:
    """A run with results of the plug-in ``hiding``, whose view is ``function`` of this file."""

    class Point:
        name, value = "hiding", "plugin:entry"

        def load(self) -> Method:
            own = None if function is None else f"{__name__}:{function}"
            return Method(name="hiding", title="what <hiding> a cell costs", access=Access.SCORES, function="m:f",
                          config="m:C", draw="m:d", view=own)  # fmt: skip

    monkeypatch.setattr(registry, "entry_points", lambda group: [Point()] if group == "whywrong.methods" else [])
    run = make_run(tmp_path, errors=ERRORS)
    items = [f"{i:020x}" for i in range(ERRORS)]
    run.add("hiding", pa.table({"item_id": items, "status": [status] * ERRORS, "reason": ["too small"] * ERRORS,
                                "drop": [1.5] * ERRORS}))  # fmt: skip
    for item in items:
        run.stored["hiding", item] = {"drops": np.arange(-4, 5, dtype=np.float32).reshape(3, 3)}
    return run


def test_a_plug_in_shows_sentence_map_number_and_caveat(tmp_path, monkeypatch):
    page = Page(write_report(run_with(tmp_path, monkeypatch, "view")))
    assert page.words.count("Hiding the middle costs") == ERRORS
    assert page.words.count("Hiding may add a cue of its own.") == ERRORS
    assert "largest drop 1.5 logits" in page.words
    assert "what <hiding> a cell costs" in page.words
    assert "3 × 3 cells; orange supports the predicted class" in page.words
    assert switches(page, "hiding-0") == ERRORS
    drawn = page.source.split('data-kind="hiding-0" data-look="map" src="')[1].split("base64,")[1].split('"')[0]
    assert Image.open(io.BytesIO(base64.b64decode(drawn))).size == (3, 3)


def switches(page: Page, kind: str) -> int:
    """How many errors have a switch for this overlay."""
    return page.source.count(f'data-kind="{kind}" data-look="map">')


def test_a_plug_in_without_words_shows_nothing(tmp_path, monkeypatch):
    page = Page(write_report(run_with(tmp_path, monkeypatch, "silent")))
    assert "hiding-0" not in page.source
    assert "a cell costs" not in page.source.split('id="method"')[0]


def test_a_plug_in_without_a_view_is_shown_with_its_columns(tmp_path, monkeypatch):
    page = Page(write_report(run_with(tmp_path, monkeypatch, None)))
    assert page.words.count("what <hiding> a cell costs ok") == ERRORS
    assert page.words.count("drop 1.5") == ERRORS


@pytest.mark.parametrize(("function", "said"), [("broken", "no such column"), ("no_view", "got dict")])
def test_a_view_that_fails_costs_its_own_part_alone(tmp_path, monkeypatch, function, said):
    page = Page(write_report(run_with(tmp_path, monkeypatch, function)))
    story, limits = page.words.split("Method and limits", 2)[-2:]
    assert story.count(said) == ERRORS
    assert f"hiding: its section failed {ERRORS} times" in limits
    assert said in limits
    assert page.tags["b"] == Page(write_report(run_with(tmp_path, monkeypatch, None))).tags["b"]
    assert page.words.count("Best classes") == ERRORS


def test_a_result_that_was_refused_is_never_shown_as_evidence(tmp_path, monkeypatch):
    page = Page(write_report(run_with(tmp_path, monkeypatch, "view", status="refused")))
    assert "Hiding the middle" not in page.words
    assert page.words.count("too small") == ERRORS + 1  # in every error, and counted once


def test_markup_of_a_plug_in_is_text(tmp_path, monkeypatch):
    plain = Page(write_report(run_with(tmp_path / "a", monkeypatch, "view")))
    page = Page(write_report(run_with(tmp_path / "b", monkeypatch, "hostile")))
    assert page.tags["script"] == 1
    assert page.tags["iframe"] == 0
    assert page.tags["img"] == plain.tags["img"]
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert "<script>alert(1)</script>" in page.words


def test_a_plug_in_cannot_swell_the_report(tmp_path, monkeypatch):
    without = write_report(run_with(tmp_path / "a", monkeypatch, "silent")).stat().st_size
    path = write_report(run_with(tmp_path / "b", monkeypatch, "endless"))
    assert path.stat().st_size - without < 30_000 * ERRORS
    page = Page(path)
    assert switches(page, "hiding-0") == switches(page, "hiding-1") == ERRORS
    assert "hiding-2" not in page.source
    assert "900 × 1300 cells, averaged" in page.words
    assert "477 rows are not shown" in page.words


@pytest.mark.parametrize("shape", [(3, 5), (64, 64), (65, 130), (900, 7)])
def test_large_maps_are_averaged_and_keep_their_mean(shape):
    values = np.random.default_rng(0).normal(size=shape)
    small = plug_ins._averaged(values)
    assert max(small.shape) <= plug_ins.SIDE
    if max(shape) <= plug_ins.SIDE:
        np.testing.assert_array_equal(small, values)
    np.testing.assert_allclose(plug_ins._averaged(np.full(shape, 0.25)), 0.25)
    assert small.min() >= values.min()
    assert small.max() <= values.max()
