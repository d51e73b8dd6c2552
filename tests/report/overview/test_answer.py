"""The first screen: what it claims, in which order, and the one thing to do next."""

from __future__ import annotations

import pytest
from tests.report.fake_run import make_run
from tests.report.fake_verdicts import add_verdicts
from tests.report.test_html import HOSTILE, Page

from whywrong.report import write_report
from whywrong.report.analyses.verdict.stored import read_verdicts
from whywrong.report.doubts import find_doubts
from whywrong.report.error_view import build
from whywrong.report.overview import answer
from whywrong.report.reports import find_reports
from whywrong.report.selection import select
from whywrong.report.summary import summarize_run
from whywrong.report.tables import Names, Tables


def told(run, limit: int = 200):
    """Verdicts, cards and the next step."""
    with Tables(run) as tables:
        reports, names = find_reports(run.meta), Names(run.meta["model"]["classes"])
        summary, verdicts = summarize_run(tables, reports), read_verdicts(tables)
        chosen, _ = select(tables, reports, limit)
        cases = [build(tables, reports, summary, row, names, n, verdicts) for n, row in enumerate(chosen, 1)]
    cards = answer.cards(verdicts, cases)
    doubts = [doubt for doubt in find_doubts(run.meta, summary) if doubt.serious]
    return summary, verdicts, cards, answer.next_step(summary, verdicts, cards, doubts)


@pytest.fixture
def run(tmp_path):
    return add_verdicts(make_run(tmp_path, images=40, errors=18))


def test_groups_keep_the_order_of_the_verdict(run):
    _, _, cards, _ = told(run)
    assert [(card.group.number, card.group.suspected, card.group.size) for card in cards] == [
        (1, False, 6),
        (2, True, 10),
        (3, True, 2),
        (4, True, 1),
    ]


def test_a_card_shows_four_of_its_errors_the_most_typical_first(run):
    _, verdicts, cards, _ = told(run)
    first = cards[0]
    assert len(first.tiles) == 4
    assert (first.inside, len(first.all)) == (6, 6)
    assert first.tiles[0][2] == "photos/photo_000.jpg"
    assert verdicts is not None
    assert first.share.replace("\u00a0", " ") == "33.3 %"


def test_the_gain_of_an_action_is_told_with_its_sham_and_its_harm(run):
    _, _, cards, _ = told(run)
    # Wilson for 5 of 6: 43.6 to 97.0 %.
    assert cards[0].gain.replace("\u00a0", " ") == (
        "Measured: 5 of 6 held-out errors avoided (95 % interval 43.6 to 97 %); a control of equal strength avoids 0"
        " of 6; 1 correct prediction lost."
    )
    assert cards[0].command == "whywrong verdict RUN --apply"
    assert cards[1].gain == ""


def test_a_step_in_words_is_not_shown_as_a_command(run):
    run.rewrite("advice", lambda value: "Cover it." if value == "whywrong verdict RUN --apply" else value)
    _, _, cards, step = told(run)
    assert cards[0].gain.startswith("Measured: 5 of 6")
    assert (cards[0].command, step.command, step.filter) == ("", "", "group=1")


def test_an_action_that_is_not_advised_has_no_command(run):
    run.rewrite("advice", lambda value: False if value is True else value)
    _, _, cards, step = told(run)
    assert cards[0].gain.startswith("Also tried: cover. 5 of 6")
    assert cards[0].gain.endswith("The gain is too small to advise it.")
    assert cards[0].command == step.command == ""


def test_causes_are_counted_apart_by_whether_a_test_supports_them(run):
    _, verdicts, _, _ = told(run)
    assert verdicts is not None
    text = " ".join(answer.cause_sentences(verdicts)).replace("\u00a0", " ")
    assert text.startswith("A test supports the cause of 6 errors: misleading cue (6).")
    assert "more have a suspected cause" in text
    undetermined = verdicts.numbers.undetermined
    assert text.endswith(f"{undetermined} are undetermined.")
    assert verdicts.numbers.errors == 18


def test_without_a_supported_test_no_cause_is_claimed(run, tmp_path):
    run.rewrite("verdicts", lambda value: "untested" if value == "supported" else value)
    run.rewrite("groups", lambda value: True if value is False else value)
    words = Page(write_report(run, tmp_path / "r.html")).words
    assert "No test supports a cause." in words
    assert "spurious, tested" not in words
    assert words.count("suspected") >= 4


class TestNextStep:
    """There always is one thing to do."""

    def test_without_a_verdict_it_is_to_ask_for_one(self, tmp_path):
        *_, step = told(make_run(tmp_path))
        assert (step.text, step.command) == (
            "The causes of the errors were not tested yet. Run:",
            "whywrong verdict RUN",
        )

    def test_with_an_advised_action_it_is_that_action(self, run):
        *_, step = told(run)
        assert step.command == "whywrong verdict RUN --apply"
        assert step.filter == "group=1"

    def test_without_one_it_is_what_the_first_group_needs(self, run):
        run._views["advice"] = run._views["advice"].slice(0, 0)
        *_, step = told(run)
        assert (step.text, step.filter, step.command) == ("Look at a mark at the lower right.", "group=1", "")

    def test_without_a_group_it_is_to_check_the_labels(self, tmp_path):
        *_, step = told(add_verdicts(make_run(tmp_path), groups=False))
        assert step.filter == "cause=label"

    def test_without_anything_suspect_it_is_to_read_the_confident_errors(self, tmp_path):
        run = add_verdicts(make_run(tmp_path), groups=False)
        run.rewrite("verdicts", lambda value: "shift" if value == "label" else value)
        *_, step = told(run)
        assert step.filter == "order=sure"

    def test_without_an_error_it_is_to_test_on_more_images(self, tmp_path):
        *_, step = told(make_run(tmp_path, errors=0))
        assert "Test on more or harder images" in step.text

    def test_without_labels_or_images_it_is_to_get_them(self, tmp_path):
        *_, labels = told(make_run(tmp_path / "a", images=8, errors=0, unlabelled=8))
        assert labels.text.startswith("Add labels")
        *_, nothing = told(make_run(tmp_path / "b", images=0, errors=0, waiting=5))
        assert "resume the run" in nothing.text

    def test_serious_doubts_come_first(self, run):
        run.meta["health"] = [{"level": "warn", "name": "label order", "text": "labels look permuted", "of_all": True}]
        *_, step = told(run)
        assert step.text.startswith("The labels look permuted.")
        assert step.command == ""


def test_the_page_holds_at_most_three_cards_and_names_the_other_groups(run, tmp_path):
    page = Page(write_report(run, tmp_path / "r.html"))
    assert page.source.count('class="card') == 3 + 1  # the list itself
    assert "one placeholder picture (1)" in page.words
    assert page.source.count('class="todo"') == 3
    order = [page.source.index(mark) for mark in ('class="cards"', 'class="next"', 'class="statistics"', 'id="groups"')]
    assert order == sorted(order)


def test_a_button_says_how_many_of_a_group_are_in_the_gallery(run, tmp_path):
    words = Page(write_report(run, tmp_path / "r.html", limit=4)).words
    assert "of the 6" in words
    assert "See the 6" in Page(write_report(run, tmp_path / "all.html")).words


def test_hostile_text_in_verdicts_and_groups_stays_text(tmp_path):
    plain = Page(write_report(add_verdicts(make_run(tmp_path / "a"), text=" harmless")))
    hostile = Page(
        write_report(
            add_verdicts(make_run(tmp_path / "b"), text=" ".join(HOSTILE).encode("utf-8", "backslashreplace").decode())
        )
    )
    assert hostile.tags == plain.tags
    assert len(hostile.attributes) == len(plain.attributes)
    assert not any("javascript:" in value for value in hostile.values("href"))


def test_a_run_without_verdicts_has_neither_cards_nor_groups(tmp_path):
    page = Page(write_report(make_run(tmp_path)))
    assert 'id="groups"' not in page.source
    assert 'class="card' not in page.source
    assert "The causes of the errors were not tested yet. Run: whywrong verdict RUN" in page.words


class Stored:
    """Tables with three counted rows of verdicts and nothing else."""

    def has(self, table: str, *columns: str) -> bool:
        return table == "verdicts"

    def rows(self, sql: str) -> list[dict]:
        counted = [("spurious", "supported", 4), ("undetermined", "supported", 1), ("undetermined", "untested", 2)]
        return [{"cause": cause, "tested": tested, "n": n} for cause, tested, n in counted]


def test_an_undetermined_error_never_counts_as_one_with_a_tested_cause():
    verdicts = read_verdicts(Stored())
    assert verdicts is not None
    assert (verdicts.numbers.supported, verdicts.numbers.undetermined) == (4, 3)
    (told,) = answer.cause_sentences(verdicts)
    assert told.replace("\u00a0", " ") == (
        "A test supports the cause of 4 errors: misleading cue (4). 3 are undetermined."
    )
