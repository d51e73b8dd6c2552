"""Intervals for shares and means."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

Z95 = 1.959963984540054


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


def bootstrap(values: np.ndarray, statistic: str = "mean", draws: int = 2000, seed: int = 0) -> Interval:
    """Percentile bootstrap over independent items.

    Args:
        values: (N,), one value an item.
        statistic: ``mean`` or ``median``.
        draws: Resamples; at least 1000 for a 95 % interval.
        seed: One seed, one interval.

    Returns:
        The statistic with its 95 % interval; NaN throughout when there are no values.
    """
    values = np.asarray(values, dtype=np.float64)
    if len(values) == 0:
        return Interval(math.nan, math.nan, math.nan)
    function = {"mean": np.mean, "median": np.median}[statistic]
    rng = np.random.default_rng(seed)
    block = max(1, 4_000_000 // len(values))
    resampled = [
        function(values[rng.integers(0, len(values), (min(block, draws - i), len(values)))], axis=1)
        for i in range(0, draws, block)
    ]
    low, high = np.quantile(np.concatenate(resampled), [0.025, 0.975])
    return Interval(float(function(values)), float(low), float(high))


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
