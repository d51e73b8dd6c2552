"""Intervals, against scipy and against exact cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from whywrong.core.statistics import bootstrap, resampled_means, wilson


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
