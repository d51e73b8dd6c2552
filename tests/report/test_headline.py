"""The headline and the strip: only what was measured, with its counts."""

from dataclasses import replace

import numpy as np
import pytest
from tests.report.fake_run import make_run

from whywrong.report.figures import confusions, distances, matrix
from whywrong.report.headline import advice, headline, held_out_rate, strip
from whywrong.report.selection import select
from whywrong.report.summary import gather
from whywrong.report.tables import Names, Tables


def told(run):
    with Tables(run) as tables:
        facts = gather(tables)
    first, more = headline(facts, Names(run.meta["model"]["classes"]))
    return facts, first.replace("\u00a0", " "), " ".join(more).replace("\u00a0", " ")


def test_errors_are_counted_with_their_share(tmp_path):
    facts, first, _ = told(make_run(tmp_path, images=30, errors=12))
    assert first == "The model misclassifies 12 of 30 images (40 %)."
    assert (facts.errors, facts.read, facts.waiting) == (12, 30, 0)


def test_the_median_distance_is_that_of_the_fixed_errors(tmp_path):
    run = make_run(tmp_path, images=40, errors=20)
    with Tables(run) as tables:
        rho = tables.array("select rho_linf from inverted where status = 'ok'")
    facts, _, more = told(run)
    assert facts.distances is not None
    assert np.median(facts.distances) == pytest.approx(255 * np.median(rho))
    assert "half" in more.lower()
    assert "No fix was found within the budget for 2." in more


def test_what_did_not_run_is_named_and_not_claimed(tmp_path):
    facts, _, more = told(make_run(tmp_path, methods=()))
    assert facts.distances is None
    assert "was not measured: the inverted attack did not run" in more
    assert strip(facts)[2].value == "n/a"


def test_no_error_at_all_is_a_calm_report(tmp_path):
    facts, first, more = told(make_run(tmp_path, errors=0))
    assert first == "The model misclassifies none of 30 images."
    # 30 of 30 right: the Wilson bound of the error rate is z² / (n + z²) = 3.8415 / 33.8415 = 11.4 %.
    assert "under 11.4 %" in more
    assert advice(facts) is None


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
    facts, first, more = told(make_run(tmp_path, images=30, errors=5, unlabelled=10))
    assert first == "The model misclassifies 5 of 20 images (25 %)."
    assert "10 images have no label" in more
    facts, first, _ = told(make_run(tmp_path, images=10, errors=0, unlabelled=10))
    assert first == "10 images were read; none has a label."
    assert strip(facts)[0].value == "n/a"


def test_a_repeated_image_counts_under_both_names_and_is_shown_once(tmp_path):
    run = make_run(tmp_path, images=30, errors=6, duplicates=2)
    facts, first, _ = told(run)
    assert first.startswith("The model misclassifies 8 of 30")
    with Tables(run) as tables:
        rows, distinct = select(tables, 200)
    assert distinct == len(rows) == 6
    assert sum(len(row["copies"]) for row in rows) == 2
    assert facts.passes["predictions"] == (28, 0)


def test_the_strip_holds_four_numbers_with_their_intervals(tmp_path):
    facts, *_ = told(make_run(tmp_path))
    figures = strip(facts)
    assert [figure.title for figure in figures] == ["accuracy", "errors", "errors with a known fix", "passes"]
    assert figures[0].value.replace("\u00a0", " ") == "60 %"
    # Wilson for 18 of 30: centre (0.6 + 0.06403) / 1.12805, half-width 0.16376: 42.3 to 75.4 %.
    assert figures[0].certainty.replace("\u00a0", " ") == "95 % interval 42.3 to 75.4 %"
    assert figures[2].note == f"{11} of {12} tried"


def test_confirmed_places_are_counted_with_their_share_of_chance(tmp_path):
    facts, _, more = told(make_run(tmp_path, images=40, errors=20))
    assert facts.places is not None
    assert (facts.places.asked, facts.places.confirmed, facts.places.controls) == (19, 7, 300)
    assert "7 errors are accounted for by one small place of the image, of 19 that were asked" in more
    assert "about one in ten may be chance" in more
    assert facts.passes["covering"] == (50 * 19, 0)
    assert held_out_rate(facts.places).replace("\u00a0", " ") == (
        "Of 100 images read right that were held out and asked for their runner-up, 13 % (95 % interval 7.8 to 21 %)"
        " have P at or below 0.1; 10 % are expected. Errors were compared with 300 images read right."
    )


def test_without_a_confirmed_place_the_headline_is_silent_about_places(tmp_path):
    run = make_run(tmp_path)
    run.rewrite("covering", lambda value: False if value is True else value)
    facts, _, more = told(run)
    assert facts.places is not None
    assert facts.places.confirmed == 0
    assert "place" not in more


def test_too_few_controls_are_said(tmp_path):
    facts, *_ = told(make_run(tmp_path, methods=("covering",)))
    assert facts.places is not None
    assert "too few" in held_out_rate(replace(facts.places, held_out=0))
    assert "too few" in held_out_rate(replace(facts.places, controls=0))


def test_the_limit_takes_explained_errors_of_every_pair_first(tmp_path):
    run = make_run(tmp_path, images=60, errors=40)
    with Tables(run) as tables:
        rows, distinct = select(tables, 12)
        everything, _ = select(tables, 1000)
    assert (len(rows), distinct, len(everything)) == (12, 40, 40)
    assert all(row["inverted"]["detailed"] for row in rows)
    pairs = [(row["label"], row["predicted"]) for row in rows]
    available = {(r["label"], r["predicted"]) for r in everything if r["inverted"]["detailed"]}
    assert len(set(pairs)) == min(12, len(available))


def test_a_bar_of_the_histogram_counts_its_errors(tmp_path):
    facts, *_ = told(make_run(tmp_path, images=300, errors=200))
    histogram = distances(facts)
    assert histogram is not None
    assert facts.distances is not None
    assert sum(bar.number for bar in histogram.bins) == len(facts.distances)
    half = next(i for i, bar in enumerate(histogram.bins) if bar.low == "½")
    assert sum(bar.number for bar in histogram.bins[:half]) == (facts.distances < 0.5).sum()


def test_the_matrix_is_for_few_classes_and_agrees_with_the_pairs(tmp_path):
    run = make_run(tmp_path, images=60, errors=40)
    facts, *_ = told(run)
    names = Names(run.meta["model"]["classes"])
    table = matrix(facts, names)
    assert table is not None
    assert sum(cell.number for row in table.rows for cell in row) == 40
    most = max((cell for row in table.rows for cell in row), key=lambda cell: cell.number)
    assert most.shade == 6
    assert matrix(facts, Names([f"class {i}" for i in range(31)])) is None
    ranked = confusions(facts, names)
    numbers = [row.number for row in ranked.first + ranked.rest]
    assert numbers == sorted(numbers, reverse=True)
    assert sum(numbers) == 40
