"""Intervals and tests for shares, means and medians."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Z95 = 1.959963984540054
FEWEST = 20  # items from which a resampled interval is given: below, none covers what it says
FEWEST_UNLIKE = 5  # of them, those unlike the most frequent one


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its 95 % interval."""

    value: float
    low: float
    high: float


def wilson(hits: int, n: int, z: float = Z95) -> Interval:
    """Share ``hits / n`` with its Wilson score interval; NaN with bounds 0 and 1 when ``n`` is 0."""
    if n == 0:
        return Interval(math.nan, 0.0, 1.0)
    p = hits / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # The bounds touch 0 and 1 exactly when no or every trial hits; rounding must not say otherwise.
    return Interval(p, 0.0 if hits == 0 else centre - half, 1.0 if hits == n else centre + half)


def exact_share(hits: int, n: int) -> Interval:
    """Share ``hits / n`` with its exact interval (Clopper and Pearson 1934), which covers at least 95 % at any n.

    Claims decide by it. The Wilson interval is shorter and covers 95 % on average over shares, but 85 % at the worst
    share for n = 20 (``benchmarks/coverage.py``).
    """
    from scipy.stats import beta  # heavy; only claims need it

    if n == 0:
        return Interval(math.nan, 0.0, 1.0)
    low = 0.0 if hits == 0 else float(beta.ppf(0.025, hits, n - hits + 1))
    high = 1.0 if hits == n else float(beta.ppf(0.975, hits + 1, n - hits))
    return Interval(hits / n, low, high)


def share_p(hits: int, n: int, bound: float) -> float:
    """Two-sided p-value of a share of ``bound``, twice the smaller exact tail, as in :func:`exact_share`."""
    from scipy.stats import binom

    if n == 0:
        return math.nan
    bound = min(max(bound, 0.0), 1.0)
    return min(1.0, 2 * float(min(binom.cdf(hits, n, bound), binom.sf(hits - 1, n, bound))))


def median(values: np.ndarray) -> Interval:
    """Median with its exact 95 % interval between two order statistics, for any distribution.

    Args:
        values: (N,), one value an item; may be infinite.

    Returns:
        NaN throughout when there are no values; bounds NaN below 6 values, which cannot bound a median at 95 %.
    """
    from scipy.stats import quantile_test

    values = np.asarray(values, dtype=np.float64)
    if len(values) == 0:
        return Interval(math.nan, math.nan, math.nan)
    with np.errstate(invalid="ignore"):  # the mean of two infinite middle values
        value = float(np.median(values))
    ends = quantile_test(values, q=0, p=0.5).confidence_interval(0.95)
    return Interval(value, float(ends.low), float(ends.high))


def mean(
    values: np.ndarray, *, bounds: tuple[float, float] | None = None, draws: int = 2000, seed: int = 0
) -> Interval:
    """Mean over independent items with an interval that covers.

    Simulated coverage is at least 93 % on normal, exponential and two-point data from n = 20
    (``benchmarks/coverage.py``). Only two different values: exact, by their shares. Fewer than 20 values, all
    equal, or fewer than 5 unlike the most frequent one: exact by ``bounds``, and no interval without them. Otherwise
    that of :class:`Resampled`.

    Args:
        values: (N,), one value an item.
        bounds: Least and largest value that an item can have, if there are such.
        draws: Resamples; at least 1000 for a 95 % interval.
        seed: One seed, one interval.

    Returns:
        NaN throughout when there are no values; bounds NaN when no interval can be given.
    """
    values = np.asarray(values, dtype=np.float64)
    if len(values) == 0:
        return Interval(math.nan, math.nan, math.nan)
    value = float(values.mean())
    kinds, counts = np.unique(values, return_counts=True)
    if len(kinds) == 2 and len(values) >= FEWEST:
        share, step = exact_share(int(counts[1]), len(values)), kinds[1] - kinds[0]
        return Interval(value, float(kinds[0] + step * share.low), float(kinds[0] + step * share.high))
    others = len(values) - int(counts.max())
    if len(values) >= FEWEST and others >= FEWEST_UNLIKE:
        [found] = resampled_mean(values[:, None], draws, seed).intervals()
        least, most = bounds or (-math.inf, math.inf)
        return Interval(value, max(found.low, least), min(found.high, most))
    if bounds is None:
        return Interval(value, math.nan, math.nan)
    # Whatever else the values are, the others lie between the bounds, and there are no more of them than this share.
    usual, most = float(kinds[counts.argmax()]), _share_above(others, len(values))
    return Interval(value, usual - (usual - bounds[0]) * most, usual + (bounds[1] - usual) * most)


def mean_p(
    values: np.ndarray,
    bound: float,
    *,
    bounds: tuple[float, float] | None = None,
    draws: int = 2000,
    seed: int = 0,
) -> float:
    """Two-sided p-value of a mean of ``bound``, by what gives the interval of :func:`mean`.

    Returns:
        NaN without values; 1 if there is no interval.
    """
    values = np.asarray(values, dtype=np.float64)
    if len(values) == 0:
        return math.nan
    kinds, counts = np.unique(values, return_counts=True)
    if len(kinds) == 2 and len(values) >= FEWEST:
        return share_p(int(counts[1]), len(values), float((bound - kinds[0]) / (kinds[1] - kinds[0])))
    others = len(values) - int(counts.max())
    if len(values) >= FEWEST and others >= FEWEST_UNLIKE:
        return float(resampled_mean(values[:, None], draws, seed).p(bound)[0])
    usual = float(kinds[counts.argmax()])
    if bounds is None or bound == usual:
        return 1.0
    from scipy.stats import binom

    least = (bound - usual) / ((bounds[1] if bound > usual else bounds[0]) - usual)  # share of others that makes it so
    return float(binom.cdf(others, len(values), min(least, 1.0)))


def _share_above(hits: int, n: int) -> float:
    """The largest share that 95 % confidence allows when ``hits`` of ``n`` were seen; one-sided, exact."""
    from scipy.stats import beta

    return 1.0 if hits == n else float(beta.ppf(0.95, hits + 1, n - hits))


@dataclass(frozen=True, slots=True, eq=False)
class Resampled:
    """A statistic of independent items, its bootstrap resamples, and its values with one item left out.

    The interval is the hull of two: BCa (Efron 1987), whose ends are taken at the levels of Student's t in place of
    the normal distribution (Hesterberg 2015, arXiv 1411.5279), and Student's interval with the standard error of the
    jackknife. Each alone falls short on some data: BCa covers 92 % of exponential means at n = 20, Student 91 %; the
    hull 94 % (``benchmarks/coverage.py``).

    Attributes:
        value: (...), of all items.
        draws: (D, ...), of resamples.
        left_out: (N, ...), without one of the items.
        items: Items of the smallest group, if groups are compared and those of all are left out; None takes N.
    """

    value: np.ndarray
    draws: np.ndarray
    left_out: np.ndarray
    items: int | None = None

    def map(self, function: Callable[[np.ndarray], np.ndarray]) -> Resampled:
        """Apply a function of (D, ...) to the statistic, its resamples, and what it is without one of the items."""
        parts = (function(part) for part in (self.value[None], self.draws, self.left_out))
        value, draws, left_out = parts
        return Resampled(value[0], draws, left_out, self.items)

    @property
    def _freedom(self) -> int:
        return (len(self.left_out) if self.items is None else self.items) - 1

    def interval(self, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Ends of the interval, (...) each; NaN with fewer than 20 items, undefined resamples, or all items alike."""
        from scipy.special import ndtr, stdtrit

        bias, skew, error = self._corrections()
        if self._freedom + 1 < FEWEST:
            nothing = np.full(np.shape(self.value), np.nan)
            return nothing, nothing
        reach = float(stdtrit(self._freedom, (1 + level) / 2))
        z = reach * math.sqrt((self._freedom + 1) / self._freedom)
        ends = []
        drawn = np.sort(self.draws, axis=0)  # NaN last
        for sign in (-1, 1):
            # Beyond the pole of the correction the end is that of the resamples.
            scale = np.maximum(1 - skew * (bias + sign * z), 1e-9)
            place = ndtr(bias + (bias + sign * z) / scale) * (len(drawn) - 1)
            below = np.clip(np.nan_to_num(place).astype(int), 0, len(drawn) - 2)
            near, far = (np.take_along_axis(drawn, below[None] + more, 0)[0] for more in (0, 1))
            bca = near + (far - near) * (place - below)
            student = self.value + sign * reach * error
            ends.append(np.where(error > 0, np.minimum(bca, student) if sign < 0 else np.maximum(bca, student), np.nan))
        return ends[0], ends[1]

    def intervals(self) -> list[Interval]:
        """The 95 % intervals of a statistic (F,)."""
        ends = zip(self.value.tolist(), *(end.tolist() for end in self.interval()), strict=True)
        return [Interval(*numbers) for numbers in ends]

    def p(self, bound: np.ndarray | float = 0.0) -> np.ndarray:
        """Two-sided p-value of a value of ``bound`` (...): 1 minus the level at which the interval reaches it."""
        from scipy.special import ndtri, stdtr

        if self._freedom + 1 < FEWEST:
            return np.full(np.shape(self.value), np.nan)
        bias, skew, error = self._corrections()
        there = ndtri(self._share_below(bound)) - bias
        z = there / np.maximum(1 + skew * there, 1e-9) - bias
        with np.errstate(invalid="ignore", divide="ignore"):
            z = np.abs(z) * math.sqrt(self._freedom / (self._freedom + 1))
            t = np.minimum(z, np.abs(self.value - bound) / error)
        return np.where(error > 0, 2 * stdtr(self._freedom, -t), np.nan)

    def _share_below(self, at: np.ndarray | float) -> np.ndarray:
        """Share of the resamples below a value (...), ties half, never 0 or 1."""
        slack = 1e-9 * np.ptp(self.draws, axis=0)  # sums of the same numbers in another order tie
        away = self.draws - at
        below = (away < -slack).mean(0) + 0.5 * (np.abs(away) <= slack).mean(0)
        return np.clip(below, 0.5 / len(self.draws), 1 - 0.5 / len(self.draws))

    def _corrections(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Bias z0, acceleration and jackknife standard error; the last NaN where no interval can be given."""
        from scipy.special import ndtri

        n = len(self.left_out)
        bias = ndtri(self._share_below(self.value))
        pull = self.left_out.mean(0) - self.left_out
        square = np.square(pull).sum(0)
        with np.errstate(invalid="ignore", divide="ignore"):
            skew = np.nan_to_num((pull**3).sum(0) / (6 * square**1.5))
        known = np.isfinite(self.value) & np.isfinite(self.draws).all(0) & np.isfinite(square)
        alike = square <= np.square(1e-12 * np.abs(self.value))  # rounding of equal numbers
        error = np.sqrt(square * (n - 1) / n)
        return bias, skew, np.where(known & ~alike, error, np.nan)


def resampled_mean(values: np.ndarray, draws: int = 2000, seed: int = 0) -> Resampled:
    """Mean of items that carry several numbers each, (N, ...), with its resamples."""
    values = np.asarray(values, dtype=np.float64)
    drawn = resampled_means(values.reshape(len(values), -1), draws, seed).reshape(draws, *values.shape[1:])
    return Resampled(values.mean(0), drawn, (values.sum(0) - values) / max(len(values) - 1, 1))


def resampled_means(values: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Means of bootstrap resamples of items that carry several numbers each, so that they stay together.

    Args:
        values: (N, F), one row an item.
        draws: Resamples.
        seed: One seed, one set of resamples; the same for any F.

    Returns:
        (draws, F) float64.
    """
    values = np.asarray(values, dtype=np.float64)
    times = np.random.default_rng(seed).multinomial(len(values), np.full(len(values), 1 / len(values)), draws)
    return times @ values / len(values)


def sign_flip(differences: np.ndarray, draws: int = 9999, seed: int = 0) -> np.ndarray:
    """Paired test of a mean difference of zero: how often random signs give a mean as far from zero.

    Exact under the null that each item's difference is as likely to have either sign. Items are flipped whole, so that
    the columns of one item stay together.

    Args:
        differences: (N, F), one row an item.
        draws: Random sets of signs; all 2^N are taken where there are no more.
        seed: One seed, one answer.

    Returns:
        (F,) two-sided p-values; NaN where there are no items. The smallest is 1 / (draws + 1), or 2 / 2^N.
    """
    differences = np.asarray(differences, dtype=np.float64)
    if len(differences) == 0:
        return np.full(differences.shape[1], np.nan)
    signs, exact = signs_of(len(differences), draws, seed)
    return extreme_share(signs @ differences, differences.sum(0), exact=exact)


def signs_of(n: int, draws: int, seed: int = 0) -> tuple[np.ndarray, bool]:
    """Sets of signs (D, n), -1 or 1 as float64: all 2^n where these are no more than ``draws``, else random ones.

    Returns:
        The signs, and whether they are all there are.
    """
    if n < 63 and 1 << n <= draws:
        return 1.0 - 2.0 * ((np.arange(1 << n)[:, None] >> np.arange(n)) & 1), True
    return np.random.default_rng(seed).choice([-1.0, 1.0], (draws, n)), False


def extreme_share(null: np.ndarray, observed: np.ndarray, *, exact: bool = False) -> np.ndarray:
    """Two-sided p-values: share of a null distribution (D, ...) at least as far from zero as ``observed`` (...).

    The observation counts as one more draw, so that p is never 0; with ``exact``, it is among the draws already.
    """
    slack = 1e-9 * np.abs(observed) + 1e-300  # sums of the same numbers in another order tie
    hits = (np.abs(null) >= np.abs(observed) - slack).sum(0)
    p = hits / len(null) if exact else (hits + 1) / (len(null) + 1)
    return np.where(np.isnan(observed), np.nan, p)


def holm(p: np.ndarray) -> np.ndarray:
    """Holm's adjustment over the first axis: p-values that hold for all tests together.

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".

    Args:
        p: (R, ...); NaN stands for a test that was not made, and stays.

    Returns:
        The same shape; the k-th smallest of m is multiplied by m - k + 1, kept from falling, and cut at 1.
    """
    p = np.asarray(p, dtype=np.float64)
    order = np.argsort(p, axis=0)  # NaN last
    tests = (~np.isnan(p)).sum(0)
    rank = np.arange(len(p)).reshape(-1, *[1] * (p.ndim - 1))
    grown = np.minimum(np.maximum.accumulate(np.take_along_axis(p, order, 0) * (tests - rank), axis=0), 1.0)
    adjusted = np.empty_like(p)
    np.put_along_axis(adjusted, order, grown, 0)
    return np.where(np.isnan(p), np.nan, adjusted)


def without_one(n: int) -> np.ndarray:
    """(n, n) weights of means that leave out one item each, (1 - [i = j]) / (n - 1)."""
    return (1 - np.eye(n)) / max(n - 1, 1)
