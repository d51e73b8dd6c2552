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
