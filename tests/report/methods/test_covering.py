"""What covering says of one error: a place only if it is confirmed, and its control in the same sentence."""

from __future__ import annotations

import pytest
from tests.report.methods.context import context, plain

from whywrong.report import answer
from whywrong.report.methods.covering import section
from whywrong.report.tables import Row

ROW = Row(
    status="ok", reason=None, v=0.7, p_true=0.9, p_rival=0.2, rival=2, window=8, turned=True, turned_windows=5,
    left=0.125, top=0.125, width=0.25, height=0.25, p=3 / 301, controls=300, place_confirmed=True, forwards=50,
)  # fmt: skip


def told(**changes) -> str:
    found = section(context(covering=Row(ROW, **changes)))
    assert found is not None
    return plain(found.sentences)


def test_a_confirmed_place_has_its_control_in_the_next_sentence():
    _, second, third = told().split(". ", 2)
    assert second == (
        "Of 300 images that are classified correctly and were tested with their runner-up as the label, 2 show as large"
        " an effect"
    )
    assert third == "About one in ten of the places confirmed in this run may be a chance finding."


@pytest.mark.parametrize(
    ("hits", "words"), [(0, "none shows as large"), (1, "1 shows as large"), (12, "12 show as large")]
)
def test_the_controls_that_do_as_well_are_counted(hits, words):
    assert words in told(p=(hits + 1) / 301)


def test_without_a_confirmed_place_the_map_makes_no_claim():
    found = section(context(covering=Row(ROW, place_confirmed=False)))
    assert found is not None
    assert found.overlays == []
    assert plain(found.sentences) == (
        "No single place was found that accounts for this error; the map shows where the model is sensitive to any"
        " class."
    )


def test_without_controls_it_says_why_nothing_was_tested():
    words = told(place_confirmed=None, p=None, controls=None)
    assert "was not tested" in words
    assert "at least 20 images that the model classifies correctly" in words


def test_the_window_is_drawn_where_it_is():
    found = section(context(covering=ROW))
    assert found is not None
    [overlay] = found.overlays
    assert (overlay.path, overlay.width, overlay.height) == ("M125 125h250v250h-250z", 1000, 1000)


@pytest.mark.parametrize("row", [None, Row(status="skipped")])
def test_errors_that_were_not_asked_show_nothing(row):
    assert section(context(covering=row)) is None


def test_a_refusal_is_shown_with_its_reason():
    found = section(context(covering=Row(status="refused", reason="NaN")))
    assert found is not None
    assert found.sentences == []
    assert found.blocks[0].rows == [("refused", "", "NaN")]


def test_hiding_something_that_turns_the_answer_is_called_no_evidence():
    found = section(context(covering=Row(ROW, place_confirmed=False)))
    assert found is not None
    notes = {name: note for name, _, note in found.blocks[0].rows}
    assert "no evidence by itself" in notes["windows that give the labelled class when hidden"]


@pytest.mark.parametrize(("clear", "said"), [(True, True), (False, False), (None, False)])
def test_the_clear_runner_up_is_said_with_both_rates(clear, said):
    row = Row(clear=clear, lead=3.14, role_play_rate=0.64)
    error = context(runner_up=row).row
    words = plain(answer.sentences(error, context().names))
    expected = (
        "The true class is the clear runner-up (lead over the next class 3.1 ×). A random label reaches this in 5 %"
        " of cases, the runner-up of correctly classified images in 64 %."
    )
    assert (expected in words) is said
