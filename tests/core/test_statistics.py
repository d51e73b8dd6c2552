"""Intervals, against scipy and against exact cases."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from whywrong.core.statistics import bootstrap, extreme_share, holm, resampled_means, sign_flip, signs_of, wilson


@pytest.mark.parametrize(("hits", "n"), [(0, 1), (1, 1), (0, 50), (50, 50), (1, 3), (299, 300), (7, 20), (4998, 5000)])
def test_wilson_equals_scipy(hits, n):
    ours = wilson(hits, n)
    theirs = stats.binomtest(hits, n).proportion_ci(0.95, method="wilson")
    assert ours.value == hits / n
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert 0 <= ours.low <= ours.value <= ours.high <= 1


def test_wilson_of_nothing_knows_nothing():
    interval = wilson(0, 0)
    assert math.isnan(interval.value)
    assert (interval.low, interval.high) == (0.0, 1.0)


def test_bootstrap_of_equal_values_is_a_point():
    interval = bootstrap(np.full(20, 3.5))
    assert (interval.value, interval.low, interval.high) == (3.5, 3.5, 3.5)


@pytest.mark.parametrize("statistic", ["mean", "median"])
def test_bootstrap_equals_a_plain_resampling_of_scipy(statistic):
    values = np.random.default_rng(0).exponential(size=200)
    ours = bootstrap(values, statistic, draws=4000)
    theirs = stats.bootstrap(
        (values,), getattr(np, statistic), n_resamples=4000, method="percentile", rng=np.random.default_rng(1)
    ).confidence_interval
    # Two percentile intervals of 4000 resamples differ by a few hundredths of a standard error.
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.15 * (theirs.high - theirs.low))
    assert ours.value == getattr(np, statistic)(values)


def test_bootstrap_covers_the_mean_about_95_times_in_100():
    rng = np.random.default_rng(3)
    hits = sum((i := bootstrap(rng.normal(size=100), draws=1000, seed=k)).low <= 0 <= i.high for k in range(300))
    assert 0.90 <= hits / 300 <= 0.985  # 95 % within three standard errors of 300 trials, less the known optimism


def test_bootstrap_repeats_with_its_seed_and_splits_large_requests():
    values = np.arange(5000.0)  # 2000 draws of 5000 values go through in several blocks
    assert bootstrap(values) == bootstrap(values)
    assert bootstrap(values, seed=1) != bootstrap(values)


def test_bootstrap_of_nothing_is_nan():
    interval = bootstrap(np.array([]))
    assert all(math.isnan(v) for v in (interval.value, interval.low, interval.high))


def test_resampled_means_keep_the_numbers_of_an_item_together():
    values = np.random.default_rng(0).normal(size=(20, 1)) * [1.0, 2.0] + [0.0, 1.0]
    means = resampled_means(values, 4000, seed=1)
    assert means.shape == (4000, 2)
    np.testing.assert_allclose(means[:, 1], 2 * means[:, 0] + 1)
    assert means[:, 0].std() == pytest.approx(values[:, 0].std() / np.sqrt(20), rel=0.05)
    np.testing.assert_allclose(means[:, :1], resampled_means(values[:, :1], 4000, seed=1), atol=1e-12)


def test_sign_flip_of_few_pairs_enumerates_all_signs():
    differences = np.random.default_rng(3).normal(0.4, 1.0, (7, 2))
    all_signs = np.array(list(itertools.product([-1, 1], repeat=7)))
    means = np.abs(all_signs @ differences)
    expected = (means >= np.abs(differences.sum(0)) - 1e-9).mean(0)
    np.testing.assert_allclose(sign_flip(differences, draws=128), expected, atol=1e-12)
    assert signs_of(7, 128)[1]
    assert not signs_of(7, 127)[1]


def test_sign_flip_of_many_pairs_is_near_the_exact_answer():
    differences = np.random.default_rng(4).normal(0.5, 1.0, (12, 1))
    exact = sign_flip(differences, draws=1 << 12)
    assert sign_flip(differences, draws=4000, seed=1) == pytest.approx(exact, abs=0.02)


def test_sign_flip_rejects_about_one_in_twenty_where_nothing_differs():
    rng = np.random.default_rng(5)
    p = sign_flip(rng.exponential(size=(20, 400)) * rng.choice([-1, 1], (20, 400)), draws=999)
    assert 0.02 < (p <= 0.05).mean() < 0.08  # 400 tests: standard error 0.011
    assert 0.4 < p.mean() < 0.6


def test_a_difference_that_all_pairs_share_has_the_smallest_p():
    assert sign_flip(np.full((5, 1), 2.0), draws=100) == pytest.approx([2 / 32])
    assert sign_flip(np.linspace(1, 2, 40)[:, None], draws=999) == pytest.approx([1 / 1000])
    assert np.isnan(sign_flip(np.empty((0, 3)))).all()


def test_the_observation_counts_as_a_draw_unless_all_are_there():
    null = np.array([[0.0], [1.0], [-3.0]])
    assert extreme_share(null, np.array([2.0])) == pytest.approx([2 / 4])
    assert extreme_share(null, np.array([2.0]), exact=True) == pytest.approx([1 / 3])
    assert np.isnan(extreme_share(null, np.array([np.nan])))


def test_holm_equals_a_computation_by_hand():
    # Sorted .01 .013 .03 .04: times 4, 3, 2, 1 gives .04 .039 .06 .04, which must not fall.
    np.testing.assert_allclose(holm(np.array([0.03, 0.01, 0.04, 0.013])), [0.06, 0.04, 0.06, 0.04])
    np.testing.assert_allclose(holm(np.array([0.5, np.nan, 0.4])), [0.8, np.nan, 0.8])
    columns = np.array([[0.03, 0.5], [0.01, 0.01]])
    np.testing.assert_allclose(holm(columns), [[0.03, 0.5], [0.02, 0.02]])


def test_holm_keeps_the_chance_of_any_false_alarm_below_five_percent():
    p = np.random.default_rng(6).uniform(size=(13, 4000))
    assert (holm(p) <= 0.05).any(0).mean() == pytest.approx(0.05, abs=0.012)
