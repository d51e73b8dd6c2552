"""Profiles: relative strength, intervals, groups of images."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats
from tests.explain.interactions.game_tables import random_tables

from whywrong.core.errors import InputError
from whywrong.explain.interactions.estimators import InteractionsConfig, estimate
from whywrong.explain.interactions.pairs import all_pairs
from whywrong.explain.interactions.profile import Profile, group_profile
from whywrong.explain.masking.games import TableGame

IMAGES = 24


@pytest.fixture(scope="module")
def profile() -> Profile:
    config = InteractionsConfig(contexts=4, orders=(0, 3, 6))
    tables = random_tables(2 * IMAGES, 8).view(IMAGES, 2, -1).transpose(1, 2)
    return estimate(TableGame(tables), all_pairs(8), config=config)


def test_shapes_names_and_ratios(profile):
    assert profile.mean.shape == (IMAGES, 3, 28, 2)
    assert profile.draws.shape == (IMAGES, 3, 28)
    assert profile.A.shape == profile.U.shape == profile.J.shape == profile.M_se.shape == (IMAGES, 3, 2)
    assert profile.names == ("value_0", "value_1")
    assert profile.ratios == (0.0, 0.5, 1.0)
    assert profile.exact == (True, False, True)


def test_relative_strength_has_mean_one_over_the_orders(profile):
    torch.testing.assert_close(profile.J.mean(1), torch.ones(IMAGES, 2, dtype=torch.float64))


def test_intervals_widen_with_their_level_and_close_where_exact(profile):
    low, high = profile.interval("M")
    lower, higher = profile.interval("M", level=0.99)
    assert (lower[:, 1] < low[:, 1]).all()
    assert (higher[:, 1] > high[:, 1]).all()
    assert torch.equal(low[:, 0], profile.M[:, 0])
    assert profile.interval("overall")[0].shape == (IMAGES, 3, 2)
    for statistic, level in (("J", 0.95), ("M", 1.0), ("A", 0.0)):
        with pytest.raises(InputError):
            profile.interval(statistic, level)


def test_a_group_is_its_mean_with_an_interval_over_images(profile):
    rows = [row for row in range(IMAGES) if row not in (1, 4)]
    group = group_profile(profile, rows)
    assert group.images == 22
    found = group.curves["A"][1][0]
    values = profile.A[rows, 1, 0].numpy()
    assert found.value == pytest.approx(values.mean())
    student = stats.t.interval(0.95, 21, values.mean(), values.std(ddof=1) / 22**0.5)
    assert found.low <= student[0] + 1e-12
    assert found.high >= student[1] - 1e-12
    assert (found.low, found.high) == pytest.approx(student, rel=0.05)


def test_a_group_of_fewer_than_twenty_images_has_no_interval(profile):
    for found in group_profile(profile, range(19)).curves["A"][1]:
        assert math.isnan(found.low)
        assert math.isnan(found.high)


def test_the_relative_strength_of_a_group_is_that_of_its_mean_strength(profile):
    group = group_profile(profile, range(IMAGES))
    A = [group.curves["A"][order][1].value for order in range(3)]
    for order in range(3):
        found = group.curves["J"][order][1]
        assert found.value == pytest.approx(A[order] / (sum(A) / 3))
        assert found.low < found.value < found.high


def test_the_noise_share_of_a_group_is_that_of_its_mean_square(profile):
    found = group_profile(profile, range(IMAGES)).curves["noise_share"][1][0]
    raw = float(profile.mean[:, 1, :, 0].square().mean())
    assert found.value == pytest.approx(1 - float(profile.U[:, 1, 0].mean()) / raw)
    assert 0 <= found.low < found.value < found.high <= 1


def test_a_constant_model_has_no_relative_strength():
    found = estimate(TableGame(torch.ones(2, 16)), all_pairs(4), config=InteractionsConfig(orders=(0, 1, 2)))
    assert found.J.isnan().all()
    assert found.A.abs().max() == 0
    assert not found.noisy.any()
    assert found.disentanglement.isnan().all()


@pytest.mark.parametrize("rows", [[], [1], [0, 0], [0, IMAGES], [-1, 2]])
def test_wrong_groups_are_refused(profile, rows):
    with pytest.raises(InputError):
        group_profile(profile, rows)


def test_too_few_resamples_are_refused(profile):
    with pytest.raises(InputError, match="1000"):
        group_profile(profile, [0, 1], draws=100)
