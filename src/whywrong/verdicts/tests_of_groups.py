"""Tests of the cause that the errors of a group share, with the pooled effect.

One error has too few controls to contradict a cause; a group has enough. Errors of one source image count as one.
Source: ours, docs/methods/interventions.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from whywrong.core.statistics import resampled_means, sign_flip
from whywrong.verdicts.tests_of_causes import BEYOND_NEUTRAL, GIVE_FIRST, LEAST_EFFECT, LEVEL, CauseTest, CauseTests

FEWEST_SOURCES = 5
NO_EFFECT = 0.1  # an effect surely below this contradicts the cause
ENOUGH_POWER = 0.8  # power on planted errors that a contradiction needs


def pool_tests(tests: CauseTests, rows: Sequence[int], cause: str, *, draws: int = 1999, seed: int = 0) -> CauseTest:
    """Test one cause on the errors of a group together.

    Args:
        tests: Statistics and controls of all errors.
        rows: Errors of the group.
        cause: Suspected cause.
        draws: Number of resamples, and of random groups of controls.
        seed: Seed of both.

    Returns:
        Means over source images. The P value is against random groups of controls, one control for each error; with a
        test that gives the cause to other images, from flipping the signs of the effects.
    """
    measured = [(row, tests.measure(row, cause)) for row in rows]
    kept = [(row, test) for row, test in measured if math.isfinite(test.p)]
    weights = _weights([tests.errors.sources[row] for row, _ in kept])  # (S, n)
    if len(weights) < FEWEST_SOURCES:
        reason = measured[0][1].reason if measured and not kept else "fewer than five source images"
        return CauseTest(cause=cause, reason=reason)
    restored = weights @ np.array([test.restored for _, test in kept])
    effect = weights @ np.array([test.effect for _, test in kept])
    drawn = resampled_means(effect[:, None], draws, seed)[:, 0]
    if cause in GIVE_FIRST:
        p = float(sign_flip(weights @ np.array([test.effect for _, test in kept])[:, None], draws, seed)[0])
    else:
        p = _p_value(tests, [row for row, _ in kept], cause, weights.mean(0), float(restored.mean()), draws, seed)
    names = [test.name for _, test in kept]
    pooled = replace(
        kept[0][1],
        name=max(dict.fromkeys(names), key=names.count),
        restored=float(restored.mean()),
        control=float((restored - effect).mean()),
        effect=float(effect.mean()),
        low=float(np.quantile(drawn, 0.05)),
        high=float(np.quantile(drawn, 0.95)),
        p=p,
        p_holm=p,
        controls=sum(test.controls for _, test in kept),
    )
    return _decide(_with_natural_controls(pooled, tests, kept, weights), tests.natural)


def _weights(sources: Sequence[str]) -> np.ndarray:
    """Return weights (S, n) that average the errors of each source."""
    places = {name: at for at, name in enumerate(dict.fromkeys(sources))}
    weights = np.zeros((len(places), len(sources)))
    weights[[places[name] for name in sources], np.arange(len(sources))] = 1
    return weights / weights.sum(1, keepdims=True)


def _p_value(
    tests: CauseTests, rows: Sequence[int], cause: str, weight: np.ndarray, restored: float, draws: int, seed: int
) -> float:
    """Compare with the mean of random controls; errors that share controls make it only more careful."""
    generator = np.random.default_rng(seed)
    null = np.zeros(draws)
    for row, part in zip(rows, weight, strict=True):
        _, _, control = tests.statistic(row, cause)
        null += part * control[generator.integers(0, len(control), draws)]
    return (1 + int((null >= restored - 1e-9).sum())) / (1 + draws)


def _with_natural_controls(
    pooled: CauseTest, tests: CauseTests, kept: Sequence[tuple[int, CauseTest]], weights: np.ndarray
) -> CauseTest:
    """Add the means of neutral edits and of other errors, which are not members of the group."""
    if not tests.natural or pooled.direction == "give":
        return pooled
    members = frozenset(row for row, _ in kept)
    neutral = weights @ np.array([tests.neutral(row) for row, _ in kept])
    others = weights @ np.array([tests.mean_of_others(row, test.name, members) for row, test in kept])
    return replace(pooled, neutral=float(neutral.mean()), others=float(others.mean()))


def _decide(test: CauseTest, natural: bool) -> CauseTest:
    least = LEAST_EFFECT[test.direction]
    if test.high < NO_EFFECT and test.power >= ENOUGH_POWER:
        return replace(test, outcome="contradicted", reason="no effect")
    if test.p > LEVEL or test.effect < least or test.low <= 0:
        return replace(test, reason="no more than controls")
    if natural and test.direction == "remove":
        if test.cause in BEYOND_NEUTRAL and not test.restored - test.neutral >= least:
            return replace(test, reason="neutral edits restore it as well")
        if not test.restored - test.others >= least:
            known = math.isfinite(test.others)
            return replace(test, reason="other errors respond as well" if known else "not enough other errors")
    return replace(test, outcome="supported", reason="")
