"""How often do our 95 % intervals cover the truth?

Means of normal, exponential, two-point and other data, with n from 20 on; shares by the exact and by the Wilson
interval, over a grid of true shares; medians; ratios of means. An interval that is not given (fewer than 20 values,
all equal, nearly all alike) covers nothing and is not counted: its share stands beside. Two older ways stand beside the
means: the percentile bootstrap and Student's t.

    python benchmarks/interval_coverage.py --trials 2000 > build/bench/interval_coverage.json
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import stats

from whywrong.core.statistics import exact_share, mean, mean_p, median, resampled_mean, wilson

SIZES = (20, 30, 50, 100, 200)
Draw = Callable[[np.random.Generator, int], np.ndarray]


def point(share: float) -> Draw:
    """Two values, 0 and 1, the second with this share."""
    return lambda rng, n: (rng.random(n) < share).astype(float)


KINDS: dict[str, tuple[Draw, float, float]] = {  # draw, mean, median
    "normal": (lambda rng, n: rng.normal(size=n), 0.0, 0.0),
    "exponential": (lambda rng, n: rng.exponential(size=n), 1.0, math.log(2)),
    "two points, 1 in 2": (point(0.5), 0.5, math.nan),
    "two points, 1 in 5": (point(0.2), 0.2, 0.0),
    "two points, 1 in 10": (point(0.1), 0.1, 0.0),
    "two points, 1 in 50": (point(0.02), 0.02, 0.0),
    "uniform": (lambda rng, n: rng.random(n), 0.5, 0.5),
    "Student's t, 3 degrees": (lambda rng, n: rng.standard_t(3, n), 0.0, 0.0),
    "Poisson, 0.5": (lambda rng, n: rng.poisson(0.5, n).astype(float), 0.5, 0.0),
    "exponential, 7 in 10 zero": (lambda rng, n: rng.exponential(size=n) * (rng.random(n) < 0.3), 0.3, 0.0),
    "-1, 0, 1 with 10, 70, 20 %": (lambda rng, n: rng.choice([-1.0, 0.0, 1.0], n, p=[0.1, 0.7, 0.2]), 0.1, 0.0),
    "log-normal": (lambda rng, n: rng.lognormal(size=n), math.exp(0.5), 1.0),
}


def of_means(kind: str, n: int, trials: int) -> dict[str, float]:
    """Coverage of a mean and of a median, with their competitors, and rejections of the true mean at 5 %."""
    draw, truth, middle = KINDS[kind]
    rng = np.random.default_rng(n)
    values = [draw(rng, n) for _ in range(trials)]
    ours = [mean(each, seed=trial) for trial, each in enumerate(values)]
    given = [each for each in ours if not math.isnan(each.low)]
    rejected = [mean_p(each, truth, seed=trial) <= 0.05 for trial, each in enumerate(values)]
    stacked = np.stack(values)
    weights = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), 2000) / n
    low, high = np.quantile(stacked @ weights.T, [0.025, 0.975], axis=1)
    half = stats.t.ppf(0.975, n - 1) * stacked.std(1, ddof=1) / math.sqrt(n)
    centre = stacked.mean(1)
    found = {
        "covered": sum(each.low <= truth <= each.high for each in given) / max(len(given), 1),
        "given": len(given) / trials,
        "rejected": float(np.mean(rejected)),
        "percentile": float(((low <= truth) & (truth <= high)).mean()),
        "student": float((np.abs(centre - truth) <= half).mean()),
        "median_width": float(np.median([each.high - each.low for each in given])) if given else math.nan,
    }
    if not math.isnan(middle):
        medians = [median(each) for each in values[:500]]
        found["median_covered"] = sum(each.low <= middle <= each.high for each in medians) / len(medians)
    return found


def of_shares(n: int) -> dict[str, float]:
    """Exact coverage of both intervals of a share, the worst and the mean over a grid of shares."""
    grid = np.linspace(0.002, 0.998, 499)
    found: dict[str, float] = {}
    for name, function in (("exact", exact_share), ("wilson", wilson)):
        ends = [function(hits, n) for hits in range(n + 1)]
        covered = [
            sum(stats.binom.pmf(hits, n, p) for hits, end in enumerate(ends) if end.low <= p <= end.high) for p in grid
        ]
        found |= {f"{name}_worst": float(min(covered)), f"{name}_mean": float(np.mean(covered))}
    return found


def of_ratios(n: int, trials: int) -> float:
    """Coverage of a ratio of means of the same items: beta parts of exponential wholes."""
    rng = np.random.default_rng(n)
    hits = 0
    for trial in range(trials):
        whole = rng.exponential(size=n)
        pair = np.stack([whole * rng.beta(2, 2, n), whole], 1)
        [found] = resampled_mean(pair, 2000, trial).map(lambda means: means[:, :1] / means[:, 1:]).intervals()
        hits += found.low <= 0.5 <= found.high
    return hits / trials


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=1000)
    options = parser.parse_args()
    numbers: dict[str, Any] = {"trials": options.trials, "numpy": np.__version__, "machine": platform.machine()}
    for n in SIZES:
        numbers[f"n = {n}"] = {
            "means": {kind: of_means(kind, n, options.trials) for kind in KINDS},
            "shares": of_shares(n),
            "ratio_covered": of_ratios(n, options.trials),
        }
        print(f"n = {n} done", file=sys.stderr, flush=True)
    numbers["standard_error_of_a_share"] = math.sqrt(0.95 * 0.05 / options.trials)
    print(json.dumps(numbers, indent=1))


if __name__ == "__main__":
    main()
