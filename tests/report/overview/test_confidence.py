"""The histogram of confidence and the sentence that it supports."""

import re

import pyarrow as pa
from tests.report.fake_run import make_run

from whywrong.report.overview.confidence import confidence_chart
from whywrong.report.reports import find_reports
from whywrong.report.summary import summarize_run
from whywrong.report.tables import Tables


def chart(run):
    with Tables(run) as tables:
        return confidence_chart(tables, summarize_run(tables, find_reports(run.meta)))


def confident(tmp_path, wrong: float, right: float, errors: int = 20, images: int = 60):
    """A run whose wrong and right predictions have these confidences."""
    run = make_run(tmp_path, images=images, errors=errors)
    for view in ("predictions", "errors"):
        rows = run._views[view].to_pylist()
        for row in rows:
            row["confidence"] = wrong if row["label"] != row["predicted"] else right
        run._views[view] = pa.Table.from_pylist(rows, schema=run._views[view].schema)
    return run


def test_right_and_wrong_stand_on_one_axis_and_scale(tmp_path):
    found = chart(confident(tmp_path, wrong=0.52, right=1.0))
    assert found is not None
    assert (found.right, found.wrong, found.most) == (40, 20, 40)
    up, down = (re.fullmatch(r"M([\d.]+) (\d+)v(-?[\d.]+)h.*", path) for path in (found.right_path, found.wrong_path))
    assert up is not None
    assert down is not None
    assert float(up[3]) == -2 * float(down[3])  # 40 above the axis, 20 under it
    assert up[2] == down[2]
    # 0.52 is in the eleventh bin of twenty, 1 in the last, each 20 units wide.
    assert (float(down[1]), float(up[1])) == (201, 381)
    assert [(row[0], row[1], row[2]) for row in found.table] == [("50 to 55 %", "0", "20"), ("95 to 100 %", "40", "0")]


def test_the_sentence_counts_confident_errors_against_what_confidence_promises(tmp_path):
    found = chart(confident(tmp_path, wrong=0.95, right=0.95))
    assert found is not None
    text = found.reading.replace("\u00a0", " ")
    assert text.startswith("Of 60 predictions with at least 90 % confidence, 20 are wrong (33.3 %, 95 % interval")
    assert text.endswith("for a calibrated model it would be at most 10 %.")


def test_a_model_that_knows_its_errors_is_told_so(tmp_path):
    found = chart(confident(tmp_path, wrong=0.4, right=0.95))
    assert found is not None
    assert found.reading.endswith("all errors have a lower confidence.")


def test_without_a_confident_prediction_nothing_is_claimed(tmp_path):
    found = chart(confident(tmp_path, wrong=0.4, right=0.5))
    assert found is not None
    assert found.reading.replace("\u00a0", " ") == "No prediction has a confidence of 90 % or more."


def test_few_images_or_no_confidence_draw_nothing(tmp_path):
    assert chart(make_run(tmp_path / "few", images=8, errors=3)) is None
    assert chart(confident(tmp_path / "none", wrong=float("nan"), right=float("nan"))) is None
