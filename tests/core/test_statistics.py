"""Intervals, against scipy and against exact cases."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from whywrong.core.statistics import (
    Interval,
    Resampled,
    exact_share,
    extreme_share,
    holm,
    mean,
    mean_p,
    median,
    resampled_mean,
    resampled_means,
    share_p,
    sign_flip,
    signs_of,
    wilson,
    without_one,
)


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


@pytest.mark.parametrize(("hits", "n"), [(0, 1), (3, 3), (0, 50), (50, 50), (1, 3), (299, 300), (7, 20)])
def test_the_exact_share_equals_that_of_scipy(hits, n):
    theirs = stats.binomtest(hits, n).proportion_ci(0.95, method="exact")
    ours = exact_share(hits, n)
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


@pytest.mark.parametrize("n", [5, 20, 60])
def test_the_exact_share_covers_every_share_at_least_95_times_in_100(n):
    ends = [exact_share(hits, n) for hits in range(n + 1)]
    for p in np.linspace(0.001, 0.999, 333):
        covered = sum(stats.binom.pmf(hits, n, p) for hits, end in enumerate(ends) if end.low <= p <= end.high)
        assert covered >= 0.95


@pytest.mark.parametrize(("hits", "n", "bound"), [(9, 10, 0.5), (0, 30, 0.1), (3, 12, 0.25), (40, 40, 0.9)])
def test_the_p_value_of_a_share_is_that_at_which_its_exact_interval_reaches_the_bound(hits, n, bound):
    p = share_p(hits, n, bound)
    if p < 1:
        ends = stats.binomtest(hits, n).proportion_ci(1 - p, method="exact")
        assert min(abs(ends.low - bound), abs(ends.high - bound)) < 1e-9
    tails = stats.binom.cdf(hits, n, bound), 1 - stats.binom.cdf(hits - 1, n, bound)
    assert p == pytest.approx(min(1, 2 * min(tails)))


def test_nothing_has_no_share_and_no_p():
    assert math.isnan(share_p(0, 0, 0.5))
    assert math.isnan(exact_share(0, 0).value)
    assert (exact_share(0, 0).low, exact_share(0, 0).high) == (0.0, 1.0)


def coverage(draw, true, n, trials=300):
    """Share of intervals that cover, of those that are given."""
    found = [mean(draw(n), draws=1000, seed=k) for k in range(trials)]
    given = [i for i in found if not math.isnan(i.low)]
    return sum(i.low <= true <= i.high for i in given) / len(given), len(given) / trials


RNG = np.random.default_rng(8)
KINDS = {
    "normal": (lambda n: RNG.normal(size=n), 0.0),
    "exponential": (lambda n: RNG.exponential(size=n), 1.0),
    "one in two": (lambda n: (RNG.random(n) < 0.5) * 1.0, 0.5),
    "one in ten": (lambda n: (RNG.random(n) < 0.1) * 3.0 - 1.0, -0.7),
    "uniform": (RNG.random, 0.5),
    "counts": (lambda n: RNG.poisson(0.7, n) * 1.0, 0.7),
    "half of it zero": (lambda n: RNG.exponential(size=n) * (RNG.random(n) < 0.5), 0.5),
}


@pytest.mark.parametrize("n", [20, 40])
@pytest.mark.parametrize("kind", KINDS)
def test_the_interval_of_a_mean_covers_at_least_93_times_in_100(kind, n):
    """The true coverage is 94 % or more (interval_coverage.py); 300 trials lie within 2.6 points of it, twice."""
    covered, given = coverage(*KINDS[kind], n)
    assert covered >= 0.93 - 2 * 0.013
    assert given > (0.8 if kind in ("one in ten", "counts", "half of it zero") else 0.999)


def test_an_interval_is_no_wider_than_it_must_be():
    """Half the width of a normal mean at n = 100 is 1.98 standard errors, 1.96 of them with a known deviation."""
    widths = [(i := mean(RNG.normal(size=100), seed=k)).high - i.low for k in range(60)]
    assert np.mean(widths) == pytest.approx(2 * 1.984 / 10, rel=0.06)


def test_the_interval_is_the_hull_of_students_and_of_bca():
    values = RNG.exponential(size=50)
    found = mean(values, draws=20_000)
    student = stats.t.interval(0.95, 49, values.mean(), values.std(ddof=1) / 50**0.5)
    level = 1 - 2 * stats.norm.cdf(stats.t.ppf(0.025, 49) * (50 / 49) ** 0.5)
    bca = stats.bootstrap((values,), np.mean, n_resamples=20_000, confidence_level=level, rng=np.random.default_rng(1))
    low, high = bca.confidence_interval
    assert found.low == pytest.approx(min(student[0], low), abs=0.02 * (high - low))
    assert found.high == pytest.approx(max(student[1], high), abs=0.02 * (high - low))
    assert low > student[0]  # each end is decided by another of the two
    assert high > student[1]


@pytest.mark.parametrize("n", [2, 19])
def test_fewer_than_twenty_values_have_no_interval(n):
    found = mean(RNG.normal(size=n))
    assert not math.isnan(found.value)
    assert math.isnan(found.low)
    assert math.isnan(found.high)
    assert mean_p(RNG.normal(size=n), 0.0) == 1.0


def test_equal_values_have_no_interval_unless_bounds_are_known():
    found = mean(np.full(40, 0.25))
    assert (found.value, math.isnan(found.low), math.isnan(found.high)) == (0.25, True, True)
    bounded = mean(np.full(40, 0.25), bounds=(0.0, 1.0))
    most = 1 - 0.05 ** (1 / 40)  # the largest share of other values that none of 40 leaves at 95 %
    assert bounded.low == pytest.approx(0.25 * (1 - most))
    assert bounded.high == pytest.approx(0.25 + 0.75 * most)


def test_few_values_unlike_the_rest_are_bounded_by_their_exact_share():
    values = np.concatenate([np.zeros(96), [0.3, 0.5, -0.2, 1.0]])
    assert math.isnan(mean(values).low)
    bounded = mean(values, bounds=(-1.0, 1.0))
    most = stats.binomtest(4, 100).proportion_ci(0.90, method="exact").high  # 95 % on one side
    assert (bounded.low, bounded.high) == pytest.approx((-most, most))
    assert not math.isnan(mean(np.concatenate([np.zeros(95), [0.3, 0.5, -0.2, 1.0, 0.1]])).low)


def test_two_values_are_a_share_between_them():
    values = np.array([2.0] * 23 + [5.0] * 7)
    share = stats.binomtest(7, 30).proportion_ci(0.95, method="exact")
    found = mean(values)
    assert (found.low, found.high) == pytest.approx((2 + 3 * share.low, 2 + 3 * share.high))
    assert mean_p(values, 3.5) == pytest.approx(share_p(7, 30, 0.5))
    twenty = np.array([2.0] * 13 + [5.0] * 7)  # the fewest that have an interval
    assert mean_p(twenty, 3.5) == pytest.approx(share_p(7, 20, 0.5))
    assert mean(twenty).low == pytest.approx(2 + 3 * stats.binomtest(7, 20).proportion_ci(0.95, method="exact").low)


@pytest.mark.parametrize("kind", KINDS)
def test_the_p_value_of_a_mean_is_below_5_percent_just_beyond_its_interval(kind):
    values = KINDS[kind][0](60)
    found = mean(values)
    width = found.high - found.low
    for end, sign in ((found.low, -1), (found.high, 1)):
        assert mean_p(values, end + 0.02 * sign * width) < 0.05
        assert mean_p(values, end - 0.02 * sign * width) > 0.05
    assert mean_p(values, found.value) > 0.5


def test_the_p_value_of_bounded_values_follows_their_bound():
    values = np.zeros(40)
    end = mean(values, bounds=(-1.0, 1.0)).high
    assert mean_p(values, end, bounds=(-1.0, 1.0)) == pytest.approx(0.05)
    assert mean_p(values, -end, bounds=(-1.0, 1.0)) == pytest.approx(0.05)
    assert mean_p(values, 0.0, bounds=(-1.0, 1.0)) == 1.0
    assert mean_p(values, 1.5, bounds=(-1.0, 1.0)) == 0.0  # no mean of bounded values reaches it
    assert mean_p(values, 0.5) == 1.0


def test_a_mean_repeats_with_its_seed():
    values = RNG.exponential(size=60)
    assert mean(values) == mean(values)
    assert mean(values, seed=1) != mean(values)


def test_a_mean_of_nothing_is_nan():
    assert all(math.isnan(v) for v in (mean([]).value, mean([]).low, mean([]).high, mean_p([], 0.0)))


def test_a_median_lies_between_order_statistics_for_any_distribution():
    values = np.arange(20.0)  # of 20 fair coins 5 or fewer come up in 2.07 %: the 6th and the 15th value
    assert median(values) == Interval(9.5, 5.0, 14.0)
    assert median(np.concatenate([values[:8], np.full(12, np.inf)])) == Interval(np.inf, 5.0, np.inf)
    assert median(np.exp(values)).high == np.exp(14.0)
    assert math.isnan(median(np.arange(5.0)).low)
    assert math.isnan(median([]).value)


@pytest.mark.parametrize("n", [6, 25])
def test_the_interval_of_a_median_covers_at_least_95_times_in_100(n):
    hits = sum((i := median(RNG.exponential(size=n))).low <= math.log(2) <= i.high for _ in range(400))
    assert hits / 400 >= 0.95 - 2 * 0.011


def test_a_ratio_of_means_covers():
    """Exponential parts of exponential wholes, of the same items: a ratio of 0.5."""
    hits = 0
    for k in range(200):
        whole = RNG.exponential(size=30)
        pair = np.stack([whole * RNG.beta(2, 2, 30), whole], 1)
        ratio = resampled_mean(pair, 1000, k).map(lambda means: means[:, :1] / means[:, 1:])
        [found] = ratio.intervals()
        hits += found.low <= 0.5 <= found.high
        assert (ratio.p(0.5)[0] > 0.05) == (found.low <= 0.5 <= found.high) or abs(ratio.p(0.5)[0] - 0.05) < 0.01
    assert hits / 200 >= 0.93 - 2 * 0.018


def test_the_smallest_group_decides_whether_there_is_an_interval():
    found = resampled_mean(RNG.normal(size=(40, 2)))
    assert np.isfinite(found.interval()[0]).all()
    few = Resampled(found.value, found.draws, found.left_out, items=19)
    assert np.isnan(few.interval()).all()
    assert np.isnan(few.p()).all()
    undefined = Resampled(found.value, np.where(np.arange(2000)[:, None] == 5, np.nan, found.draws), found.left_out)
    assert np.isnan(undefined.interval()).all()


def test_leaving_one_out_is_the_mean_of_the_others():
    values = RNG.normal(size=(6, 3))
    expected = [np.delete(values, i, 0).mean(0) for i in range(6)]
    np.testing.assert_allclose(without_one(6) @ values, expected)
    np.testing.assert_allclose(resampled_mean(values).left_out, expected)


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
    np.testing.assert_allclose(holm(np.array([0.6, 0.7, 0.2])), [1.0, 1.0, 0.6])  # at most 1
    columns = np.array([[0.03, 0.5], [0.01, 0.01]])
    np.testing.assert_allclose(holm(columns), [[0.03, 0.5], [0.02, 0.02]])


def test_holm_keeps_the_chance_of_any_false_alarm_below_five_percent():
    p = np.random.default_rng(6).uniform(size=(13, 4000))
    assert (holm(p) <= 0.05).any(0).mean() == pytest.approx(0.05, abs=0.012)


def test_resamples_that_equal_the_value_count_half_on_either_side():
    """Half of the resamples tie, the rest lies evenly about the value: no bias, so the interval is even, too."""
    beside = np.linspace(1, 10, 500)
    draws = np.concatenate([-beside, np.zeros(1000), beside])[:, None]
    found = Resampled(np.zeros(1), draws, np.linspace(-0.01, 0.01, 20)[:, None])
    low, high = found.interval()
    assert low[0] == pytest.approx(-high[0], abs=0.05)
    assert 9 < high[0] < 10
    assert found.p(0.0)[0] == pytest.approx(1.0)
