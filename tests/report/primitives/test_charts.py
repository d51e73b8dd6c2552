"""Small charts: a zero baseline, round ticks, labels that do not cover each other."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from whywrong.report.primitives.charts import LABEL_GAP, Series, line_chart, sparkline, ticks


def made(*ends: float):
    series = [
        Series("true", "a", [0.0, 1.0], [1.0, end], [0.5, end], [1.5, end], [False, True]) for end in ends
    ]  # fmt: skip
    return line_chart(series, x_title="x", y_title="y", described="d")


@given(st.floats(1e-6, 1e6))
def test_ticks_start_at_zero_end_at_the_top_and_are_round(most):
    found = ticks(most)
    assert found[0] == 0
    assert 2 <= len(found) <= 8
    assert 0.5 * most <= found[-1] <= most * 1.001
    step = f"{found[1]:.6e}"
    assert step[0] in "125"
    assert float(step.split("e")[0]) == pytest.approx(int(step[0]))


def test_zero_is_the_bottom_of_the_frame_and_nothing_leaves_it():
    chart = made(0.0)
    assert chart.y_ticks[0] == (chart.bottom, "0")
    assert chart.lines[0].points[1][1] == chart.bottom
    wild = line_chart(
        [Series("true", "a", [0.0, 1.0], [1.0, 1.0], [-3.0, 1.0], [50.0, 1.0], [False, False])],
        x_title="x", y_title="y", described="d",
    )  # fmt: skip
    heights = [float(pair.split()[1].rstrip("Z")) for pair in wild.lines[0].band[1:].split("L")]
    assert all(wild.top <= y <= wild.bottom for y in heights)
    assert wild.lines[0].points[0][1] < (wild.top + wild.bottom) / 2 + 1  # a wide band does not press the line down


@given(st.lists(st.floats(0, 1), min_size=2, max_size=3))
def test_labels_keep_their_distance(ends):
    chart = made(*ends)
    places = sorted(line.label_y for line in chart.lines)
    assert all(b - a >= LABEL_GAP - 0.11 for a, b in itertools.pairwise(places))
    assert chart.top <= places[0]
    assert places[-1] <= chart.bottom + 0.1


def test_a_band_has_a_gap_where_the_interval_is_unknown():
    at, nan = [0.0, 0.25, 0.5, 0.75, 1.0], float("nan")
    chart = line_chart(
        [Series("true", "a", at, [1.0] * 5, [0.5, 0.5, nan, 0.5, 0.5], [1.5, 1.5, nan, 1.5, 1.5], [False] * 5)],
        x_title="x", y_title="y", described="d",
    )  # fmt: skip
    assert chart.lines[0].band.count("Z") == 2
    assert "nan" not in chart.lines[0].band
    assert chart.lines[0].path.count("L") == 4


def test_a_line_is_broken_off_at_hollow_points():
    at = [0.0, 0.25, 0.5, 0.75, 1.0]
    hollow = [False, False, True, False, False]
    chart = line_chart(
        [Series("true", "a", at, [1.0] * 5, [1.0] * 5, [1.0] * 5, hollow)], x_title="x", y_title="y", described="d"
    )
    assert (chart.lines[0].path.count("M"), chart.lines[0].path.count("L")) == (2, 2)
    assert (chart.lines[0].doubtful.count("M"), chart.lines[0].doubtful.count("L")) == (1, 2)


def test_a_chart_of_nothing_but_zeros_is_drawn():
    chart = line_chart(
        [Series("true", "a", [0.0, 1.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [False, False])],
        x_title="x", y_title="y", described="d",
    )  # fmt: skip
    assert [y for _, y, *_ in chart.lines[0].points] == [chart.bottom] * 2


def test_a_sparkline_runs_from_edge_to_edge_and_needs_two_values():
    spark = sparkline([0.0, 1.0], start="0 %", end="100 %", described="d")
    assert spark is not None
    assert spark.path == "M3 25L117 3"
    assert sparkline([0.5], start="", end="", described="") is None
