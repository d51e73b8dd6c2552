"""Confidence intervals and tests for shares, means and medians."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Z95 = 1.959963984540054
FEWEST = 20  # least number of items for a resampled interval: with fewer, its coverage is too low
FEWEST_UNLIKE = 5  # least number of items that differ from the most frequent value


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its 95 % interval."""

    value: float
    low: float
    high: float


def wilson(hits: int, n: int, z: float = Z95) -> Interval:
    """Compute the share ``hits / n`` with its Wilson score interval.

    Returns:
        NaN with bounds 0 and 1 if ``n`` is 0.
    """
    if n == 0:
        return Interval(math.nan, 0.0, 1.0)
    p = hits / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # The bounds are exactly 0 and 1 if no or every trial hits; rounding must not change that.
    return Interval(p, 0.0 if hits == 0 else centre - half, 1.0 if hits == n else centre + half)


def exact_share(hits: int, n: int) -> Interval:
    """Compute the share ``hits / n`` with an interval that covers at least 95 %.

    Claims use this exact interval. The Wilson interval is shorter and covers 95 % on average over shares, but 85 % at
    the worst share for n = 20 (``benchmarks/interval_coverage.py``). NaN with bounds 0 and 1 if ``n`` is 0.

    Source: Clopper and Pearson 1934.
    """
    from scipy.stats import beta  # heavy; only claims need it

    if n == 0:
        return Interval(math.nan, 0.0, 1.0)
    low = 0.0 if hits == 0 else float(beta.ppf(0.025, hits, n - hits + 1))
    high = 1.0 if hits == n else float(beta.ppf(0.975, hits + 1, n - hits))
    return Interval(hits / n, low, high)


def share_p(hits: int, n: int, bound: float) -> float:
    """Compute the two-sided p-value of a share of ``bound``.

    It is twice the smaller exact tail, consistent with :func:`exact_share`. NaN if ``n`` is 0.
    """
    from scipy.stats import binom

    if n == 0:
        return math.nan
    bound = min(max(bound, 0.0), 1.0)
    return min(1.0, 2 * float(min(binom.cdf(hits, n, bound), binom.sf(hits - 1, n, bound))))


def median(values: np.ndarray) -> Interval:
    """Compute the median with its exact 95 % interval, for any distribution.

    The interval lies between two order statistics.

    Args:
        values: (N,), one value per item; may be infinite.

    Returns:
        All NaN if there are no values; NaN bounds below 6 values, which cannot bound a median at 95 %.
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
    """Compute the mean over independent items with its 95 % interval.

    Simulated coverage is at least 93 % on normal, exponential and two-point data from n = 20
    (``benchmarks/interval_coverage.py``). With only two different values, the interval is exact, from their shares.
    With fewer than 20 values, all equal, or fewer than 5 that differ from the most frequent one, it is exact given
    ``bounds``, and missing otherwise. In all other cases it is that of :class:`Resampled`.

    Args:
        values: (N,), one value per item.
        bounds: Least and largest possible value of an item, if known.
        draws: Resamples; at least 1000 for a 95 % interval.
        seed: Seed of the resamples.

    Returns:
        All NaN if there are no values; NaN bounds if no interval can be given.
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
    # The others lie between the bounds, whatever their values, and their share is at most ``most``.
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
    """Compute the two-sided p-value of a mean of ``bound``.

    It is consistent with the interval of :func:`mean`.

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

    least = (bound - usual) / (
        (bounds[1] if bound > usual else bounds[0]) - usual
    )  # share of others at which the mean is bound
    return float(binom.cdf(others, len(values), min(least, 1.0)))


def _share_above(hits: int, n: int) -> float:
    """Compute the exact one-sided 95 % upper bound of a share with ``hits`` of ``n``."""
    from scipy.stats import beta

    return 1.0 if hits == n else float(beta.ppf(0.95, hits + 1, n - hits))


@dataclass(frozen=True, slots=True, eq=False)
class Resampled:
    """A statistic of independent items with its bootstrap and leave-one-out values.

    The interval is the hull of two intervals: BCa (Efron 1987), whose ends are taken at the levels of Student's t
    instead of the normal distribution (Hesterberg 2015, arXiv 1411.5279), and Student's interval with the standard
    error of the jackknife. Each alone covers too little on some data: BCa covers 92 % of exponential means at n = 20,
    Student 91 %, the hull 94 % (``benchmarks/interval_coverage.py``).

    Attributes:
        value: (...), the statistic of all items.
        draws: (D, ...), the statistic of each resample.
        left_out: (N, ...), the statistic with each item left out in turn.
        items: Size of the smallest group, if groups are compared and each group leaves out its items; None means N.
    """

    value: np.ndarray
    draws: np.ndarray
    left_out: np.ndarray
    items: int | None = None

    def map(self, function: Callable[[np.ndarray], np.ndarray]) -> Resampled:
        """Apply a function of (D, ...) to all values of the statistic.

        These are its value, its resamples and its leave-one-out values.
        """
        parts = (function(part) for part in (self.value[None], self.draws, self.left_out))
        value, draws, left_out = parts
        return Resampled(value[0], draws, left_out, self.items)

    @property
    def _freedom(self) -> int:
        return (len(self.left_out) if self.items is None else self.items) - 1

    def interval(self, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """Compute the ends of the interval, (...) each.

        NaN with fewer than 20 items, undefined resamples, or all items equal.
        """
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
            # Beyond the pole of the correction, the end of the resamples is used.
            scale = np.maximum(1 - skew * (bias + sign * z), 1e-9)
            place = ndtr(bias + (bias + sign * z) / scale) * (len(drawn) - 1)
            below = np.clip(np.nan_to_num(place).astype(int), 0, len(drawn) - 2)
            near, far = (np.take_along_axis(drawn, below[None] + more, 0)[0] for more in (0, 1))
            bca = near + (far - near) * (place - below)
            student = self.value + sign * reach * error
            ends.append(np.where(error > 0, np.minimum(bca, student) if sign < 0 else np.maximum(bca, student), np.nan))
        return ends[0], ends[1]

    def intervals(self) -> list[Interval]:
        """Return the 95 % intervals of a statistic (F,)."""
        ends = zip(self.value.tolist(), *(end.tolist() for end in self.interval()), strict=True)
        return [Interval(*numbers) for numbers in ends]

    def p(self, bound: np.ndarray | float = 0.0) -> np.ndarray:
        """Compute the two-sided p-value of a value of ``bound`` (...).

        It is 1 minus the level at which the interval reaches ``bound``.
        """
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
        """Return the share of resamples below a value (...), ties counted half, never 0 or 1."""
        slack = 1e-9 * np.ptp(self.draws, axis=0)  # sums of the same numbers in another order count as ties
        away = self.draws - at
        below = (away < -slack).mean(0) + 0.5 * (np.abs(away) <= slack).mean(0)
        return np.clip(below, 0.5 / len(self.draws), 1 - 0.5 / len(self.draws))

    def _corrections(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return bias z0, acceleration and jackknife standard error; the last is NaN if no interval can be given."""
        from scipy.special import ndtri

        n = len(self.left_out)
        bias = ndtri(self._share_below(self.value))
        pull = self.left_out.mean(0) - self.left_out
        square = np.square(pull).sum(0)
        with np.errstate(invalid="ignore", divide="ignore"):
            skew = np.nan_to_num((pull**3).sum(0) / (6 * square**1.5))
        known = np.isfinite(self.value) & np.isfinite(self.draws).all(0) & np.isfinite(square)
        alike = square <= np.square(1e-12 * np.abs(self.value))  # equal numbers up to rounding
        error = np.sqrt(square * (n - 1) / n)
        return bias, skew, np.where(known & ~alike, error, np.nan)


def resampled_mean(values: np.ndarray, draws: int = 2000, seed: int = 0) -> Resampled:
    """Compute the mean of items (N, ...) and its resamples."""
    values = np.asarray(values, dtype=np.float64)
    drawn = resampled_means(values.reshape(len(values), -1), draws, seed).reshape(draws, *values.shape[1:])
    return Resampled(values.mean(0), drawn, (values.sum(0) - values) / max(len(values) - 1, 1))


def resampled_means(values: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Compute means of bootstrap resamples of items (N, F), each resampled as a whole.

    Args:
        values: (N, F), one row per item.
        draws: Number of resamples.
        seed: Seed of the resamples, which are the same for any F.

    Returns:
        (draws, F) float64.
    """
    values = np.asarray(values, dtype=np.float64)
    times = np.random.default_rng(seed).multinomial(len(values), np.full(len(values), 1 / len(values)), draws)
    return times @ values / len(values)


def sign_flip(differences: np.ndarray, draws: int = 9999, seed: int = 0) -> np.ndarray:
    """Test for a mean paired difference of zero by flipping signs at random.

    Exact if, under the null hypothesis, each item's difference has either sign with equal probability. Items are
    flipped whole, so that the columns of one item stay together.

    Args:
        differences: (N, F), one row per item.
        draws: Number of random sets of signs; all 2^N sets are used if there are no more.
        seed: Seed of the signs.

    Returns:
        (F,) two-sided p-values; NaN if there are no items. The smallest possible is 1 / (draws + 1), or 2 / 2^N.
    """
    differences = np.asarray(differences, dtype=np.float64)
    if len(differences) == 0:
        return np.full(differences.shape[1], np.nan)
    signs, exact = signs_of(len(differences), draws, seed)
    return extreme_share(signs @ differences, differences.sum(0), exact=exact)


def signs_of(n: int, draws: int, seed: int = 0) -> tuple[np.ndarray, bool]:
    """Return sets of signs (D, n), float64 of -1 or 1.

    All 2^n sets if these are no more than ``draws``, otherwise random ones.

    Returns:
        The signs, and whether they are all 2^n sets.
    """
    if n < 63 and 1 << n <= draws:
        return 1.0 - 2.0 * ((np.arange(1 << n)[:, None] >> np.arange(n)) & 1), True
    return np.random.default_rng(seed).choice([-1.0, 1.0], (draws, n)), False


def extreme_share(null: np.ndarray, observed: np.ndarray, *, exact: bool = False) -> np.ndarray:
    """Compute two-sided p-values from a null distribution.

    A p-value is the share of the values ``null`` (D, ...) at least as far from zero as ``observed`` (...). The
    observation counts as one more draw, so that p is never 0; with ``exact``, it is already among the draws.
    """
    slack = 1e-9 * np.abs(observed) + 1e-300  # sums of the same numbers in another order count as ties
    hits = (np.abs(null) >= np.abs(observed) - slack).sum(0)
    p = hits / len(null) if exact else (hits + 1) / (len(null) + 1)
    return np.where(np.isnan(observed), np.nan, p)


def holm(p: np.ndarray) -> np.ndarray:
    """Adjust p-values for multiple tests over the first axis by Holm's method.

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".

    Args:
        p: (R, ...); NaN for a test that was not made, and kept.

    Returns:
        The same shape; the k-th smallest of m is multiplied by m - k + 1, made non-decreasing, and capped at 1.
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
    """Return weights (n, n) of leave-one-out means, (1 - [i = j]) / (n - 1)."""
    return (1 - np.eye(n)) / max(n - 1, 1)
