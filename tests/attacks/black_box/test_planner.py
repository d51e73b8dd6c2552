"""The planner: which step comes next, and how far along a direction."""

from __future__ import annotations

import math

import pytest
import torch

from whywrong.attacks.black_box.config import BlackBoxConfig
from whywrong.attacks.black_box.planner import next_length, plan
from whywrong.core.errors import InputError


def steps(scores: bool = True, surrogate: bool = True, **settings) -> list[tuple[str, int]]:
    return [(one.step, one.queries) for one in plan(BlackBoxConfig(**settings), scores=scores, surrogate=surrogate)]


def test_directions_come_before_the_search_without_them_and_share_one_budget():
    assert steps(queries=100, lengths=4, recrafts=2) == [
        ("direction", 4), ("corrected", 4), ("corrected", 4), ("square", 88)
    ]  # fmt: skip


def test_the_access_decides_the_last_step_and_a_surrogate_the_first():
    assert steps(queries=10, scores=False, recrafts=0, lengths=4) == [("direction", 4), ("labels", 6)]
    assert steps(queries=10, surrogate=False) == [("square", 10)]


def test_no_step_is_planned_beyond_the_budget():
    assert steps(queries=0) == []
    assert steps(queries=1) == [("direction", 1)]
    assert steps(queries=6, lengths=4, recrafts=3) == [("direction", 4), ("corrected", 2)]
    assert steps(queries=9, tail="none", lengths=4, recrafts=0) == [("direction", 4)]


def lengths(asked: int, length: float, margin: float, before: tuple[float, float], **settings) -> float:
    config = BlackBoxConfig(**{"first": 4, "lengths": 4, **settings})
    one = [torch.tensor([float(value)]) for value in (length, margin, *before)]
    return float(next_length(config, asked, one[0], one[1], (one[2], one[3])))


def test_with_scores_the_next_length_goes_30_percent_beyond_the_expected_crossing():
    # The margin fell from 3 to 2 over 4 grey levels, so it crosses zero 8 levels further.
    assert lengths(1, 4, 2.0, (0, 3.0)) == pytest.approx(4 + 1.3 * 8)


def test_a_direction_that_does_not_lower_the_margin_is_given_up():
    assert math.isnan(lengths(1, 4, 3.5, (0, 3.0)))
    assert math.isnan(lengths(1, 4, 2.99, (0, 3.0)))  # it would need far more than the radius


def test_lengths_grow_at_least_by_a_quarter_and_end_at_the_radius():
    assert lengths(1, 8, 0.01, (0, 3.0)) == pytest.approx(10)
    assert lengths(1, 8, 2.0, (0, 3.0)) == pytest.approx(16)
    assert math.isnan(lengths(2, 16, 1.0, (8, 2.0)))
    assert math.isnan(lengths(4, 8, 1.0, (4, 2.0)))


def test_with_labels_lengths_grow_evenly():
    asked = [lengths(n, length, math.nan, (0, math.nan)) for n, length in ((1, 4), (2, 8), (3, 12))]
    assert asked == pytest.approx([8, 12, 16])


@pytest.mark.parametrize(
    "settings",
    [{"queries": -1}, {"total": -1}, {"eps": 0.001}, {"first": 0.5}, {"lengths": 0}, {"tail": "x"}, {"confirm": -1}],
)
def test_bad_settings_are_refused(settings):
    with pytest.raises(InputError, match=next(iter(settings))):
        BlackBoxConfig(**settings)


def test_two_tiers_are_never_merged():
    with pytest.raises(InputError, match="never merged"):
        BlackBoxConfig(own="planted:vit", distilled="s.safetensors")
    assert BlackBoxConfig(bank=("planted:vit", "planted:cnn-robust")).tier == "bank"


def test_the_first_margin_of_a_class_that_comes_among_the_listed_ones_is_no_progress_yet():
    assert lengths(1, 4, 2.0, (0, math.nan)) == pytest.approx(8)
    assert lengths(2, 8, 1.0, (4, 2.0)) == pytest.approx(13.2)
