"""The headline and the summary statistics: only what was measured, with its counts."""

from dataclasses import replace

import numpy as np
import pytest
from tests.report.fake_run import make_run

from whywrong.report.confusions import confusions, matrix
from whywrong.report.headline import advice, headline, method_leads, method_statistics
from whywrong.report.methods.covering import held_out_rate
from whywrong.report.methods.inverted.overview import overview
from whywrong.report.primitives.charts import Histogram
from whywrong.report.reports import find_reports
from whywrong.report.selection import select
from whywrong.report.summary import summarize_run
from whywrong.report.tables import Names, Tables


def told(run):
    reports = find_reports(run.meta)
    with Tables(run) as tables:
        summary = summarize_run(tables, reports)
    first, more = headline(summary, Names(run.meta["model"]["classes"]), reports)
    return summary, first.replace("\u00a0", " "), " ".join(more).replace("\u00a0", " ")


def statistics(run, summary):
    return method_statistics(summary, find_reports(run.meta))


def test_errors_are_counted_with_their_share(tmp_path):
    summary, first, _ = told(make_run(tmp_path, images=30, errors=12))
    assert first == "The model misclassifies 12 of 30 images (40 %)."
    assert (summary.errors, summary.read, summary.waiting) == (12, 30, 0)


def test_the_median_distance_is_that_of_the_fixed_errors(tmp_path):
    run = make_run(tmp_path, images=40, errors=20)
    with Tables(run) as tables:
        rho = tables.array("select rho_linf from inverted where status = 'ok'")
    summary, _, more = told(run)
    assert len(summary.numbers["inverted"].values)
    assert np.median(summary.numbers["inverted"].values) == pytest.approx(255 * np.median(rho))
    assert "half" in more.lower()
    assert "For 2 errors, no correcting change was found within the budget." in more


def test_what_did_not_run_is_named_and_not_claimed(tmp_path):
    run = make_run(tmp_path, methods=())
    summary, _, more = told(run)
    assert "inverted" not in summary.numbers
    assert "was not measured: the inverted attack did not run" in more
    assert statistics(run, summary)[0].value == "n/a"


def test_no_error_at_all_is_a_calm_report(tmp_path):
    summary, first, more = told(make_run(tmp_path, errors=0))
    assert first == "The model misclassifies none of 30 images."
    # 30 of 30 right: the Wilson bound of the error rate is z² / (n + z²) = 3.8415 / 33.8415 = 11.4 %.
    assert "below 11.4 %" in more
    assert advice(summary) is None


def test_every_image_wrong_is_the_headline(tmp_path):
    assert told(make_run(tmp_path, images=12, errors=12))[1] == "The model misclassifies 12 of 12 images (100 %)."


def test_an_unfinished_run_says_what_is_left(tmp_path):
    _, _, more = told(make_run(tmp_path, waiting=7, failed=2))
    assert "7 of 39 images are still to do" in more


def test_missing_evidence_leaves_the_run_unfinished(tmp_path):
    run = make_run(tmp_path)
    run.meta["complete"] = False
    assert "evidence is missing for some errors" in told(run)[2]


def test_unlabelled_images_are_neither_right_nor_wrong(tmp_path):
    _, first, more = told(make_run(tmp_path, images=30, errors=5, unlabelled=10))
    assert first == "The model misclassifies 5 of 20 images (25 %)."
    assert "10 images have no label" in more
    _, first, _ = told(make_run(tmp_path, images=10, errors=0, unlabelled=10))
    assert first == "10 images were classified; none has a label."


def test_a_repeated_image_counts_under_both_names_and_is_shown_once(tmp_path):
    run = make_run(tmp_path, images=30, errors=6, duplicates=2)
    summary, first, _ = told(run)
    assert first.startswith("The model misclassifies 8 of 30")
    with Tables(run) as tables:
        rows, distinct = select(tables, find_reports(run.meta), 200)
    assert distinct == len(rows) == 6
    assert sum(len(row["copies"]) for row in rows) == 2
    assert summary.passes["predictions"] == (28, 0)


def test_the_numbers_of_methods_and_the_cost_are_apart_from_those_of_the_model(tmp_path):
    run = make_run(tmp_path)
    figures = statistics(run, told(run)[0])
    assert [figure.title for figure in figures] == ["errors with a known smallest change", "passes"]
    assert figures[0].note == f"{11} of {12} tried"


def test_the_page_tells_without_what_the_methods_say_of_themselves(tmp_path):
    run = make_run(tmp_path, images=40, errors=20)
    summary, _, _ = told(run)
    _, lead = headline(summary, Names(run.meta["model"]["classes"]))
    assert "grey level" not in " ".join(lead)
    measured, others = method_leads(summary, find_reports(run.meta))
    assert "grey levels" in measured[0]
    assert any("place of the image" in sentence for sentence in others)


def test_confirmed_places_are_counted_with_their_share_of_chance(tmp_path):
    summary, _, more = told(make_run(tmp_path, images=40, errors=20))
    assert "covering" in summary.numbers
    assert (
        summary.numbers["covering"].asked,
        summary.numbers["covering"].confirmed,
        summary.numbers["covering"].controls,
    ) == (19, 7, 300)
    assert "In 7 of 19 errors tested, one small place of the image is confirmed to account for the error" in more
    assert "about one in ten of these places may be a chance finding" in more
    assert summary.passes["covering"] == (50 * 19, 0)
    assert held_out_rate(summary.numbers["covering"]).replace("\u00a0", " ") == (
        "Of 100 held-out images that are classified correctly and were tested with their runner-up as the label, 13 %"
        " (95 % interval 7.8 to 21 %) have P at or below 0.1; 10 % are expected. Errors were compared with 300"
        " correctly classified images."
    )


def test_without_a_confirmed_place_the_headline_is_silent_about_places(tmp_path):
    run = make_run(tmp_path)
    run.rewrite("covering", lambda value: False if value is True else value)
    summary, _, more = told(run)
    assert "covering" in summary.numbers
    assert summary.numbers["covering"].confirmed == 0
    assert "place" not in more


def test_too_few_controls_are_said(tmp_path):
    summary, *_ = told(make_run(tmp_path, methods=("covering",)))
    assert "covering" in summary.numbers
    assert "too few" in held_out_rate(replace(summary.numbers["covering"], held_out=0))
    assert "too few" in held_out_rate(replace(summary.numbers["covering"], controls=0))


def test_the_limit_takes_explained_errors_of_every_pair_first(tmp_path):
    run = make_run(tmp_path, images=60, errors=40)
    with Tables(run) as tables:
        rows, distinct = select(tables, find_reports(run.meta), 12)
        everything, _ = select(tables, find_reports(run.meta), 1000)
    assert (len(rows), distinct, len(everything)) == (12, 40, 40)
    assert all(row["inverted"]["detailed"] for row in rows)
    pairs = [(row["label"], row["predicted"]) for row in rows]
    available = {(r["label"], r["predicted"]) for r in everything if r["inverted"]["detailed"]}
    assert len(set(pairs)) == min(12, len(available))


def test_a_bar_of_the_histogram_counts_its_errors(tmp_path):
    run = make_run(tmp_path, images=300, errors=200)
    summary, *_ = told(run)
    with Tables(run) as tables:
        [histogram] = overview(tables, summary)
    assert isinstance(histogram, Histogram)
    assert len(summary.numbers["inverted"].values)
    assert sum(bar.number for bar in histogram.bins) == len(summary.numbers["inverted"].values)
    half = next(i for i, bar in enumerate(histogram.bins) if bar.low == "½")
    assert sum(bar.number for bar in histogram.bins[:half]) == (summary.numbers["inverted"].values < 0.5).sum()


def test_the_matrix_is_for_few_classes_and_agrees_with_the_pairs(tmp_path):
    run = make_run(tmp_path, images=60, errors=40)
    summary, *_ = told(run)
    names = Names(run.meta["model"]["classes"])
    table = matrix(summary, names)
    assert table is not None
    assert sum(cell.number for row in table.rows for cell in row) == 40
    most = max((cell for row in table.rows for cell in row), key=lambda cell: cell.number)
    assert most.shade == 6
    assert matrix(summary, Names([f"class {i}" for i in range(31)])) is None
    ranked = confusions(summary, names)
    numbers = [row.number for row in ranked.first + ranked.rest]
    assert numbers == sorted(numbers, reverse=True)
    assert sum(numbers) == 40
