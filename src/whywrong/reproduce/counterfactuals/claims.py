"""Claims of sparse counterfactuals about sparsity, reach, iterations, solvers, unused budget and object.

Source: Boreiko, Augustin, Croce, Berens and Hein 2022, arXiv 2205.07972, of which only the abstract could be read; the
wording of claims C1 to C5 and C8 and their bounds are ours, docs/guides/reproduce.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from whywrong.core.statistics import Interval, mean, mean_p, resampled_mean, sign_flip
from whywrong.reproduce.counterfactuals.config import CounterfactualClaimConfig
from whywrong.reproduce.counterfactuals.measuring import answers
from whywrong.reproduce.protocol import (
    ClaimContext,
    ClaimResult,
    Part,
    both,
    bounds_in_words,
    claim,
    claim_result,
    verdicts_of,
)

_DRAWS = 2000
_EXPONENTS = (1.0, 1.5, 2.0, math.inf)


@claim
def sparsity_follows_the_exponent(context: ClaimContext[CounterfactualClaimConfig]) -> ClaimResult:
    """Test claim C1, that smaller exponents give sparser changes.

    Fewer pixels hold 90 % of the change, at radii with the same mean change.
    """
    found = {p: answers(context, "fw", p, context.config.steps) for p in _EXPONENTS}
    held = {p: each.pix90 for p, each in found.items()}
    changed = np.all([~np.isnan(values) for values in held.values()], axis=0)
    steps = [_gap((held[b] - held[a])[changed], context.config.seed) for a, b in pairwise(_EXPONENTS)]
    least = _smallest(steps)
    means = {p: float(values[changed].mean()) if changed.any() else math.nan for p, values in held.items()}
    listed = ", ".join(f"{100 * means[p]:.3g} % at p = {p:g}" for p in _EXPONENTS)
    return claim_result(
        least,
        effect_name="smallest gap between neighbouring exponents, share of pixels that hold 90 % of the change",
        n=int(changed.sum()),
        verdict=both(*verdicts_of(steps)),
        sentence=f"90 % of the change lies on {listed} of the pixels, over {int(changed.sum()):,} images.",
        numbers={f"pix90_p{p:g}": means[p] for p in _EXPONENTS}
        | {f"flip_rate_p{p:g}": _mean(found[p].flipped) for p in _EXPONENTS},
        samples={f"share of pixels with 90 % of the change, p = {p:g}": held[p][changed].tolist() for p in _EXPONENTS},
    )


@claim
def reach_lies_between(context: ClaimContext[CounterfactualClaimConfig]) -> ClaimResult:
    """Test claim C2, that p = 1.5 reaches a probability between p = 1 and p = 2.

    The radii have the same mean change. On an ordinary classifier all of them reach nearly 1, and the claim says
    nothing.
    """
    found = {p: answers(context, "fw", p, context.config.steps) for p in (1.0, 1.5, 2.0)}
    chance = {p: each.probability for p, each in found.items()}
    n = len(chance[1.0])
    gaps = [_gap(chance[b] - chance[a], context.config.seed) for a, b in ((1.0, 1.5), (1.5, 2.0))]
    means = {p: _mean(values) for p, values in chance.items()}
    sentence = f"mean probability of the target: {_listed(means)}, over {n:,} images"
    saturated = n > 0 and min(filter(None, means.values()), default=0.0) >= 0.9
    sentence += "; all are near 1, as on models that are not robust, where validity says nothing." if saturated else "."
    return claim_result(
        _smallest(gaps),
        effect_name="smaller of the two gaps in mean probability of the target",
        n=n,
        verdict=both(*verdicts_of(gaps)),
        sentence=sentence,
        numbers={f"probability_p{p:g}": means[p] for p in means}
        | {f"flip_rate_p{p:g}": _mean(found[p].flipped) for p in found},
        samples={f"probability of the target, p = {p:g}": chance[p].tolist() for p in chance},
    )


@claim
def short_searches_do(context: ClaimContext[CounterfactualClaimConfig]) -> ClaimResult:
    """Test claim C3, that 30 steps of the published solver suffice.

    The best value never decreases, and 30 steps give 95 % of the probability of 75.
    """
    settings = context.config
    short = answers(context, "afw-v1", 1.5, settings.steps)
    long = answers(context, "afw-v1", 1.5, settings.long)
    ours = answers(context, "fw", 1.5, settings.steps)
    n = len(long.probability)
    ratio, p = _ratio(short.probability, long.probability, context.config)
    falls = int(short.falls.sum() + long.falls.sum())
    [share] = verdicts_of([Part(ratio, p, context.config.kept)])
    return claim_result(
        ratio,
        effect_name=f"mean probability after {settings.steps} steps, as a share of that after {settings.long}",
        n=n,
        verdict=both(share, "does not hold" if falls else share),
        sentence=f"{settings.steps} steps of the published solver reach {_share(ratio)} of the probability that "
        f"{settings.long} reach, over {n:,} images; its best value fell {falls} times.",
        numbers={
            "probability_short": _mean(short.probability),
            "probability_long": _mean(long.probability),
            "probability_default_solver_short": _mean(ours.probability),
            "falls_of_the_best": falls,
        },
        samples={"probability of the target, short": short.probability.tolist()},
    )


@claim
def solvers_agree(context: ClaimContext[CounterfactualClaimConfig]) -> ClaimResult:
    """Test claim C4, that Auto-Frank-Wolfe and Auto-PGD end close to each other.

    They are within a few points at p = 2, which both support.
    """
    frank = answers(context, "afw-v1", 2.0, context.config.long)
    projected = answers(context, "apgd", 2.0, context.config.long)
    ours = answers(context, "fw", 2.0, context.config.steps)
    n = len(frank.probability)
    difference, points = frank.probability - projected.probability, context.config.points
    gap = mean(difference, bounds=(-1.0, 1.0), seed=context.config.seed)
    within = [
        Part(gap, mean_p(difference, end, bounds=(-1.0, 1.0), seed=context.config.seed), end, above=end < 0)
        for end in (-points, points)
    ]
    return claim_result(
        gap,
        effect_name="mean probability of the target, Auto-Frank-Wolfe minus Auto-PGD",
        n=n,
        verdict=both(*verdicts_of(within)),
        sentence=f"Auto-Frank-Wolfe ends at {_mean(frank.probability) or math.nan:.3f}, Auto-PGD at "
        f"{_mean(projected.probability) or math.nan:.3f}, over {n:,} images.",
        numbers={
            "probability_afw": _mean(frank.probability),
            "probability_apgd": _mean(projected.probability),
            "probability_default_solver": _mean(ours.probability),
            "norm_over_radius_afw": _mean(frank.norm),
            "norm_over_radius_apgd": _mean(projected.norm),
        },
        samples={"difference of probabilities": difference.tolist()},
    )


@claim
def budget_stays_unused(context: ClaimContext[CounterfactualClaimConfig]) -> ClaimResult:
    """Test claim C5, that the published solver ends inside the ball.

    Pushing its result outwards raises the probability of the target.
    """
    found = answers(context, "afw-v1", 1.5, context.config.long)
    n = len(found.norm)
    bounds, unused = (0.0, 1.0), context.config.unused
    left = mean(1 - found.norm, bounds=bounds, seed=context.config.seed)
    gain = mean(found.fill_gain, seed=context.config.seed)
    parts = [
        Part(left, mean_p(1 - found.norm, unused, bounds=bounds, seed=context.config.seed), unused),
        Part(gain, _sign_p(found.fill_gain, context.config.seed)),
    ]
    return claim_result(
        left,
        effect_name="mean share of the radius that is left unused",
        n=n,
        verdict=both(*verdicts_of(parts)),
        sentence=f"{_share(left)} of the radius stays unused after {context.config.long} steps; pushing the answer "
        f"outwards raises the target's log-probability by {gain.value:.3g} nats "
        f"({bounds_in_words(gain.low, gain.high, '{:.3g}')}), "
        f"over {n:,} images.",
        numbers={"fill_gain": gain.value, "fill_gain_low": gain.low, "fill_gain_high": gain.high},
        samples={"share of the radius used": found.norm.tolist()},
    )


@claim
def change_lies_on_the_object(context: ClaimContext[CounterfactualClaimConfig]) -> ClaimResult:
    """Test claim C8, that changes at p = 1.5 lie more on the object than at p = 2."""
    found = {p: answers(context, "fw", p, context.config.steps) for p in (1.0, 1.5, 2.0)}
    inside = {p: each.inside for p, each in found.items()}
    known = np.all([~np.isnan(values) for values in inside.values()], axis=0)
    n = int(known.sum())
    gap = _gap((inside[1.5] - inside[2.0])[known], context.config.seed)
    means = {p: _mean(values[known]) for p, values in inside.items()}
    return claim_result(
        gap.effect,
        effect_name="share of the change inside the object, p = 1.5 minus p = 2",
        n=n,
        verdict=both(*verdicts_of([gap])),
        sentence=f"share of the change inside the object: {_listed(means)}, over {n:,} images."
        if n
        else "the images come with neither boxes nor masks of their objects, so nothing can be said.",
        numbers={f"inside_p{p:g}": means[p] for p in means},
        samples={f"share inside the object, p = {p:g}": inside[p][known].tolist() for p in inside},
    )


def _gap(difference: np.ndarray, seed: int) -> Part:
    """Compute the mean paired difference of shares or probabilities.

    It should exceed zero.
    """
    return Part(mean(difference, bounds=(-1.0, 1.0), seed=seed), _sign_p(difference, seed))


def _sign_p(difference: np.ndarray, seed: int) -> float:
    return float(sign_flip(difference[:, None], seed=seed)[0])


def _smallest(gaps: Sequence[Part]) -> Interval:
    least = min((gap.effect for gap in gaps), key=lambda effect: effect.value)
    return Interval(least.value, least.low, least.high)


def _ratio(part: np.ndarray, whole: np.ndarray, config: CounterfactualClaimConfig) -> tuple[Interval, float]:
    """Compute a ratio of means with its interval and p-value.

    The interval is over images, the p-value against the bound of the claim.
    """
    if not len(part) or whole.mean() <= 0:
        return Interval(math.nan, math.nan, math.nan), math.nan
    ratio = resampled_mean(np.stack([part, whole], 1), _DRAWS, config.seed).map(_quotient)
    return ratio.intervals()[0], float(ratio.p(config.kept)[0])


def _quotient(means: np.ndarray) -> np.ndarray:
    return means[:, :1] / means[:, 1:]


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


def _listed(means: dict[float, float | None]) -> str:
    return ", ".join(f"{value:.3f} at p = {p:g}" for p, value in means.items() if value is not None)


def _share(interval: Interval) -> str:
    return f"{100 * interval.value:.3g} % ({bounds_in_words(100 * interval.low, 100 * interval.high, '{:.3g} %')})"
