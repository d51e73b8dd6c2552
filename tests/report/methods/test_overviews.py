"""Figures over all errors: means over errors, with intervals over errors."""

from __future__ import annotations

import numpy as np
import pytest
from tests.report.fake_run import make_run

from whywrong.report.headline import headline
from whywrong.report.methods.counterfactuals.overview import trust
from whywrong.report.methods.patch_groups.overview import Groups, enough_patches
from whywrong.report.methods.profiles.overview import mean_profile
from whywrong.report.primitives.run_summary import Pair, RunSummary
from whywrong.report.reports import find_reports
from whywrong.report.summary import summarize_run
from whywrong.report.tables import Names, Tables


def test_the_mean_profile_is_the_root_of_the_mean_square(tmp_path):
    with Tables(make_run(tmp_path, images=60, errors=40, duplicates=3)) as tables:
        panel = mean_profile(tables)
        rows = tables.rows("select * from profiles where status = 'ok' and players = 'tokens' and class = 'target'")
    assert panel is not None
    assert panel.table is not None
    assert panel.table.head[:3] == ["others present", "predicted", "95 % interval"]
    assert len(panel.table.rows) == 13
    for row, ratio in zip(panel.table.rows, sorted({row["ratio"] for row in rows}), strict=True):
        root = np.sqrt(np.mean([r["U"] for r in rows if r["ratio"] == ratio]))
        assert float(row[1]) == pytest.approx(root, rel=6e-3)
        low, high = map(float, row[2].split(" to "))
        assert low <= float(row[1]) * 1.03
        assert high >= float(row[1]) * 0.97


def test_few_errors_get_no_figure_over_all(tmp_path):
    run = make_run(tmp_path, errors=4)
    reports = find_reports(run.meta)
    with Tables(run) as tables:
        summary = summarize_run(tables, reports)
        overviews = [report.overview for report in reports if report.overview]
        assert len(overviews) >= 4
        assert [overview(tables, summary) for overview in overviews] == [[]] * len(overviews)


def test_bars_double_and_count_every_error():
    groups = Groups(enough=np.array([0, 1, 1, 2, 3, 4, 9.0]), targeted=np.array([5.0, 8.0]), grouped=9, patches=49)
    found = enough_patches(groups)
    assert found is not None
    assert [(bar.label, bar.number) for bar in found.bars] == [
        ("0", 1), ("1", 2), ("2 to 3", 2), ("4 to 7", 1), ("8 to 15", 1), ("none found", 2),
    ]  # fmt: skip
    assert found.readings[0].replace("\u00a0", " ") == (
        "For 44.4 % (4 of 9) of the errors, at most 2 patches of 49 alone are enough for the wrong prediction."
    )
    assert sum(bar.number for bar in found.bars) == groups.grouped


def test_the_last_bar_ends_at_the_number_of_patches():
    found = enough_patches(Groups(np.array([40.0] * 6), np.zeros(0), grouped=6, patches=49))
    assert found is not None
    assert found.bars[-1].label == "32 to 49"


def test_the_lead_counts_errors_without_a_group_as_needing_more():
    reports = find_reports({})

    def lead(enough: list[float]) -> str:
        numbers = {"patch_groups": Groups(np.array(enough), np.zeros(0), grouped=9, patches=49)}
        summary = RunSummary(items=20, read=20, labelled=20, errors=9, pairs=[Pair(0, 1, 9, 10)], numbers=numbers)
        return " ".join(headline(summary, Names(["a", "b"]), reports)[1])

    assert "at most 3 of 49 patches shown alone give the same prediction" in lead([1, 1, 2, 2, 3])
    assert "patches" not in lead([1, 1, 2, 2])


def test_trust_is_that_of_the_largest_radius_and_every_error_counts_once(tmp_path):
    with Tables(make_run(tmp_path, images=60, errors=40, duplicates=3)) as tables:
        chart = trust(tables)
        items = tables.value("select count(distinct item_id) from counterfactuals where role = 'true'")
    assert chart is not None
    assert sum(bar.number for bar in chart.bars) == items
    assert [bar.label for bar in chart.bars] == ["semantic", "undecided", "adversarial", "unchecked"]
    assert "Do not take the other changes as explanations" in chart.readings[0]


def test_where_nothing_is_trusted_nothing_is_claimed(tmp_path):
    run = make_run(tmp_path, images=60, errors=20)
    run.rewrite("counterfactuals", lambda value: "undecided" if value == "semantic" else value)
    with Tables(run) as tables:
        chart = trust(tables)
    assert chart is not None
    assert len(chart.readings) == 1
    assert "none is shown as an explanation" in chart.readings[0]
    assert "semantic" not in [bar.label for bar in chart.bars]
