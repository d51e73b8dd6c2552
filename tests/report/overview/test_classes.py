"""The table of classes, against counts from the predictions themselves."""

from tests.report.fake_run import make_run

from whywrong.report.overview.classes import COLUMNS, class_table
from whywrong.report.reports import find_reports
from whywrong.report.summary import summarize_run
from whywrong.report.tables import Names, Tables


def table(run, **options):
    with Tables(run) as tables:
        summary = summarize_run(tables, find_reports(run.meta))
        return class_table(tables, summary, Names(run.meta["model"]["classes"]), **options)


def test_every_number_agrees_with_a_count_of_the_predictions(tmp_path):
    run = make_run(tmp_path, images=60, errors=25, unlabelled=5, failed=2)
    found = table(run)
    assert found is not None
    rows = [r for r in run._views["predictions"].to_pylist() if r["status"] == "ok" and r["label"] is not None]
    assert {row.index for row in found.first} == {r["label"] for r in rows} | {r["predicted"] for r in rows}
    for row in found.first:
        images, recall, precision, confidence, out, into, _ = row.cells
        own = [r for r in rows if r["label"] == row.index]
        answered = [r for r in rows if r["predicted"] == row.index]
        hits = sum(r["predicted"] == row.index for r in own)
        assert (images.order, out.order, into.order) == (len(own), len(own) - hits, len(answered) - hits)
        assert recall.order == (hits / len(own) if own else -1)
        assert precision.order == (hits / len(answered) if answered else -1)
        mean = sum(r["confidence"] for r in answered) / len(answered) if answered else -1
        assert abs(confidence.order - mean) < 1e-6
        assert len(row.cells) == len(COLUMNS)


def test_a_share_carries_its_wilson_interval(tmp_path):
    run = make_run(tmp_path, images=30, errors=12)
    rows = run._views["predictions"].to_pylist()
    label = max({r["label"] for r in rows}, key=lambda index: sum(r["label"] == index for r in rows))
    n = sum(r["label"] == label for r in rows)
    hits = sum(r["label"] == r["predicted"] == label for r in rows)
    z2 = 1.959964**2
    centre, half = (hits + z2 / 2) / (n + z2), (z2 * (hits * (n - hits) / n + z2 / 4)) ** 0.5 / (n + z2)
    found = table(run)
    assert found is not None
    note = next(row for row in found.first if row.index == label).cells[1].note
    assert [float(text.split("\u00a0")[0]) for text in note.split(" to ")] == [
        round(100 * (centre - half), 1),
        round(100 * (centre + half), 1),
    ]


def test_the_rows_with_most_errors_come_first_and_a_short_rest_is_not_folded(tmp_path):
    names = [f"class {n}" for n in range(40)]
    run = make_run(tmp_path, images=90, errors=60, classes=names)
    found = table(run, shown=5)
    assert found is not None
    assert len(found.first) == 5
    errors = [row.cells[4].order + row.cells[5].order for row in found.first + found.rest]
    assert errors == sorted(errors, reverse=True)
    whole = table(run, shown=len(errors) - 2)
    assert whole is not None
    assert whole.rest == []


def test_without_labels_there_is_no_table(tmp_path):
    assert table(make_run(tmp_path, images=8, errors=0, unlabelled=8)) is None
