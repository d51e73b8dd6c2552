"""Claims of sparse counterfactuals: sparsity, reach, iterations, the rival solver, the unused budget, the object.

Source: Boreiko, Augustin, Croce, Berens and Hein 2022, arXiv 2205.07972, of which only the abstract could be read;
claims C1 to C5 and C8 of our specification. Their bounds are ours, as docs/guides/reproduce.md says.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from whywrong.core.errors import InputError
from whywrong.core.randomness import item_keys, keyed_uniform
from whywrong.core.statistics import Interval, bootstrap, resampled_means
from whywrong.explain.counterfactuals.config import default_radius
from whywrong.explain.counterfactuals.domain import Domain
from whywrong.explain.counterfactuals.metrics import mass_inside, pix90
from whywrong.explain.counterfactuals.objectives import ClassObjective
from whywrong.explain.counterfactuals.search import Solver, search
from whywrong.models import Classifier
from whywrong.reproduce.protocol import ClaimProgress, ClaimResult, LabelledImages, Verdict, both, decide
from whywrong.runs.labelled import LabelledSource

Progress = Callable[[ClaimProgress], None] | None
_DRAWS = 2000
_EXPONENTS = (1.0, 1.5, 2.0, math.inf)


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterfactualClaimConfig:
    """Settings of the claims ``counterfactuals.C1`` to ``C5`` and ``C8``.

    Attributes:
        limit: Most images to use, the first in the order of the data; each is changed into one class drawn at random
            among those that the model does not read from it.
        scale: Factor on the default radius of every exponent.
        steps: Steps of a search in C1, C2 and C8, and the short one of C3.
        long: Steps of the long search of C3, and of the published solvers in C4 and C5.
        kept: Share of the long search's probability that the short one must reach in C3.
        points: Difference of mean probabilities that counts as none in C4.
        unused: Share of the radius that the published solver must leave unused, on average, in C5.
        seed: Seeds targets and random starts.
    """

    limit: int = 100
    scale: float = 1.0
    steps: int = 30
    long: int = 75
    kept: float = 0.95
    points: float = 0.05
    unused: float = 0.02
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("limit", "steps", "long"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 < self.scale < math.inf:
            raise InputError(f"scale must be positive and finite, got {self.scale}")
        for name in ("kept", "points", "unused"):
            if not 0 < getattr(self, name) < 1:
                raise InputError(f"{name} must be a share in (0, 1), got {getattr(self, name)}")


@dataclass(frozen=True, slots=True, eq=False)
class _Answers:
    """What one kind of search gave, one value an image (N,), float64: probabilities, shares, nats."""

    probability: np.ndarray
    log_probability: np.ndarray
    flipped: np.ndarray
    pix90: np.ndarray
    norm: np.ndarray
    inside: np.ndarray
    fill_gain: np.ndarray
    falls: np.ndarray


def sparsity_follows_the_exponent(
    models: Sequence[Classifier],
    data: LabelledImages,
    config: CounterfactualClaimConfig,
    *,
    progress: Progress = None,
    memory: dict[Any, Any] | None = None,
) -> ClaimResult:
    """C1: the smaller the exponent, the fewer pixels hold 90 % of the change, at radii of equal mean change."""
    found = {p: _answers(models[0], data, config, "fw", p, config.steps, progress, memory) for p in _EXPONENTS}
    held = {p: answers.pix90 for p, answers in found.items()}
    changed = np.all([~np.isnan(values) for values in held.values()], axis=0)
    steps = [bootstrap((held[b] - held[a])[changed], seed=config.seed) for a, b in pairwise(_EXPONENTS)]
    least = min(steps, key=lambda gap: gap.low) if changed.any() else _nothing()
    means = {p: float(values[changed].mean()) if changed.any() else math.nan for p, values in held.items()}
    listed = ", ".join(f"{100 * means[p]:.3g} % at p = {p:g}" for p in _EXPONENTS)
    return _result(
        least,
        effect_name="smallest gap between neighbouring exponents, share of pixels that hold 90 % of the change",
        n=int(changed.sum()),
        verdict=_all_above_zero(steps),
        sentence=f"90 % of the change lies on {listed} of the pixels, over {int(changed.sum()):,} images.",
        numbers={f"pix90_p{p:g}": means[p] for p in _EXPONENTS}
        | {f"flip_rate_p{p:g}": _mean(found[p].flipped) for p in _EXPONENTS},
        samples={f"share of pixels with 90 % of the change, p = {p:g}": held[p][changed].tolist() for p in _EXPONENTS},
    )


def reach_lies_between(
    models: Sequence[Classifier],
    data: LabelledImages,
    config: CounterfactualClaimConfig,
    *,
    progress: Progress = None,
    memory: dict[Any, Any] | None = None,
) -> ClaimResult:
    """C2: at radii of equal mean change, p = 1.5 reaches a probability between those of p = 1 and p = 2.

    On an ordinary classifier all of them reach nearly 1, and the claim says nothing.
    """
    found = {p: _answers(models[0], data, config, "fw", p, config.steps, progress, memory) for p in (1.0, 1.5, 2.0)}
    chance = {p: answers.probability for p, answers in found.items()}
    n = len(chance[1.0])
    gaps = [bootstrap(chance[b] - chance[a], seed=config.seed) for a, b in ((1.0, 1.5), (1.5, 2.0))]
    means = {p: _mean(values) for p, values in chance.items()}
    sentence = f"mean probability of the target: {_listed(means)}, over {n:,} images"
    saturated = n > 0 and min(filter(None, means.values()), default=0.0) >= 0.9
    sentence += "; all are near 1, as on models that are not robust, where validity says nothing." if saturated else "."
    return _result(
        min(gaps, key=lambda gap: gap.low) if n else _nothing(),
        effect_name="smaller of the two gaps in mean probability of the target",
        n=n,
        verdict=_all_above_zero(gaps),
        sentence=sentence,
        numbers={f"probability_p{p:g}": means[p] for p in means}
        | {f"flip_rate_p{p:g}": _mean(found[p].flipped) for p in found},
        samples={f"probability of the target, p = {p:g}": chance[p].tolist() for p in chance},
    )


def short_searches_do(
    models: Sequence[Classifier],
    data: LabelledImages,
    config: CounterfactualClaimConfig,
    *,
    progress: Progress = None,
    memory: dict[Any, Any] | None = None,
) -> ClaimResult:
    """C3: the published solver's best value never falls, and 30 of its steps give 95 % of the probability of 75."""
    short = _answers(models[0], data, config, "afw-v1", 1.5, config.steps, progress, memory)
    long = _answers(models[0], data, config, "afw-v1", 1.5, config.long, progress, memory)
    ours = _answers(models[0], data, config, "fw", 1.5, config.steps, progress, memory)
    n = len(long.probability)
    ratio = _ratio(short.probability, long.probability, config.seed)
    falls = int(short.falls.sum() + long.falls.sum())
    share = decide(ratio.low, ratio.high, config.kept) if n else "undecided"
    return _result(
        ratio,
        effect_name=f"mean probability after {config.steps} steps, as a share of that after {config.long}",
        n=n,
        verdict=both(share, "does not hold" if falls else share),
        sentence=f"{config.steps} steps of the published solver reach {_share(ratio)} of the probability that "
        f"{config.long} reach, over {n:,} images; its best value fell {falls} times.",
        numbers={
            "probability_short": _mean(short.probability),
            "probability_long": _mean(long.probability),
            "probability_default_solver_short": _mean(ours.probability),
            "falls_of_the_best": falls,
        },
        samples={"probability of the target, short": short.probability.tolist()},
    )


def solvers_agree(
    models: Sequence[Classifier],
    data: LabelledImages,
    config: CounterfactualClaimConfig,
    *,
    progress: Progress = None,
    memory: dict[Any, Any] | None = None,
) -> ClaimResult:
    """C4: at p = 2, where both apply, Auto-Frank-Wolfe and Auto-PGD end within a few points of each other."""
    frank = _answers(models[0], data, config, "afw-v1", 2.0, config.long, progress, memory)
    projected = _answers(models[0], data, config, "apgd", 2.0, config.long, progress, memory)
    ours = _answers(models[0], data, config, "fw", 2.0, config.steps, progress, memory)
    n = len(frank.probability)
    gap = bootstrap(frank.probability - projected.probability, seed=config.seed)
    verdict = both(decide(gap.low, gap.high, -config.points), decide(gap.low, gap.high, config.points, above=False))
    return _result(
        gap,
        effect_name="mean probability of the target, Auto-Frank-Wolfe minus Auto-PGD",
        n=n,
        verdict=verdict if n else "undecided",
        sentence=f"Auto-Frank-Wolfe ends at {_mean(frank.probability) or math.nan:.3f}, Auto-PGD at "
        f"{_mean(projected.probability) or math.nan:.3f}, over {n:,} images.",
        numbers={
            "probability_afw": _mean(frank.probability),
            "probability_apgd": _mean(projected.probability),
            "probability_default_solver": _mean(ours.probability),
            "norm_over_radius_afw": _mean(frank.norm),
            "norm_over_radius_apgd": _mean(projected.norm),
        },
        samples={"difference of probabilities": (frank.probability - projected.probability).tolist()},
    )


def budget_stays_unused(
    models: Sequence[Classifier],
    data: LabelledImages,
    config: CounterfactualClaimConfig,
    *,
    progress: Progress = None,
    memory: dict[Any, Any] | None = None,
) -> ClaimResult:
    """C5: the published solver ends inside the ball, and pushing its answer outwards raises the target."""
    found = _answers(models[0], data, config, "afw-v1", 1.5, config.long, progress, memory)
    n = len(found.norm)
    left = bootstrap(1 - found.norm, seed=config.seed)
    gain = bootstrap(found.fill_gain, seed=config.seed)
    return _result(
        left,
        effect_name="mean share of the radius that is left unused",
        n=n,
        verdict=both(decide(left.low, left.high, config.unused), _above_zero(gain)) if n else "undecided",
        sentence=f"{_share(left)} of the radius stays unused after {config.long} steps; pushing the answer outwards "
        f"raises the target's log-probability by {gain.value:.3g} nats ({gain.low:.3g} to {gain.high:.3g}), over "
        f"{n:,} images.",
        numbers={"fill_gain": gain.value, "fill_gain_low": gain.low, "fill_gain_high": gain.high},
        samples={"share of the radius used": found.norm.tolist()},
    )


def change_lies_on_the_object(
    models: Sequence[Classifier],
    data: LabelledImages,
    config: CounterfactualClaimConfig,
    *,
    progress: Progress = None,
    memory: dict[Any, Any] | None = None,
) -> ClaimResult:
    """C8: counterfactuals at p = 1.5 put a larger share of their change inside the object than those at p = 2."""
    found = {p: _answers(models[0], data, config, "fw", p, config.steps, progress, memory) for p in (1.0, 1.5, 2.0)}
    inside = {p: answers.inside for p, answers in found.items()}
    known = np.all([~np.isnan(values) for values in inside.values()], axis=0)
    n = int(known.sum())
    gap = bootstrap((inside[1.5] - inside[2.0])[known], seed=config.seed)
    means = {p: _mean(values[known]) for p, values in inside.items()}
    return _result(
        gap,
        effect_name="share of the change inside the object, p = 1.5 minus p = 2",
        n=n,
        verdict=_above_zero(gap) if n else "undecided",
        sentence=f"share of the change inside the object: {_listed(means)}, over {n:,} images."
        if n
        else "the images come with neither boxes nor masks of their objects, so nothing can be said.",
        numbers={f"inside_p{p:g}": means[p] for p in means},
        samples={f"share inside the object, p = {p:g}": inside[p][known].tolist() for p in inside},
    )


# Measuring.


def _answers(
    classifier: Classifier,
    data: LabelledImages,
    config: CounterfactualClaimConfig,
    solver: Solver,
    p: float,
    steps: int,
    progress: Progress,
    memory: dict[Any, Any] | None,
) -> _Answers:
    """One kind of search on all images; kept in ``memory`` for the claims that ask for the same."""
    memory = {} if memory is None else memory
    setting = (config.limit, config.scale, config.seed)
    key = ("counterfactuals", classifier.identity, setting, solver, p, steps)
    if key not in memory:
        images = ("counterfactuals", classifier.identity, setting)
        if images not in memory:
            memory[images] = _images(classifier, data, config)
        stage = f"{solver}, p = {p:g}, {steps} steps"
        memory[key] = _measured(classifier, memory[images], config, solver, p, steps, progress, stage)
    return memory[key]


@dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    """Images (B, C, H, W), targets (B,), keys (B,), masks (B, H, W) bool, all False where unknown."""

    x: Tensor
    target: Tensor
    keys: Tensor
    mask: Tensor


def _images(classifier: Classifier, data: LabelledImages, config: CounterfactualClaimConfig) -> list[_Batch]:
    """The first images, each with a target that is not what the model reads from it."""
    batches: list[_Batch] = []
    left = config.limit
    for x, mask, ids in _masked(classifier, data):
        logits, faults = classifier.logits_or_faults(x)
        good = [row for row in range(len(x)) if row not in faults][:left]
        if not good:
            continue
        keys = item_keys(config.seed, [ids[row] for row in good], "counterfactuals")
        draw = keyed_uniform(keys, (1,))[:, 0]
        others = logits.shape[1] - 1
        offset = 1 + (draw * others).long().clamp_max(others - 1)
        target = (logits[good].argmax(1) + offset.to(logits.device)).remainder(logits.shape[1])
        batches.append(_Batch(x[good].clamp(0, 1), target, keys, mask[good]))
        left -= len(good)
        if left <= 0:
            break
    return batches


def _masked(classifier: Classifier, data: LabelledImages) -> Iterator[tuple[Tensor, Tensor, list[str]]]:
    """Images, masks of their objects (all False where unknown), item ids."""
    if isinstance(data, LabelledSource):
        for x, _, items in data.read(classifier, data.settle(classifier)):
            nothing = np.zeros(x.shape[-2:], dtype=bool)
            masks = np.stack([nothing if item.mask is None else item.mask for item in items])
            yield x, torch.from_numpy(masks), [item.entry.item_id for item in items]
        return
    masks = getattr(data, "masks", None)  # (N, H, W) bool, for images in memory
    start = 0
    for x, _, ids in data.batches(classifier):
        rows = slice(start, start + len(x))
        nothing = torch.zeros((len(x), *x.shape[2:]), dtype=torch.bool)
        yield x, nothing if masks is None else masks[rows], [str(name) for name in ids]
        start += len(x)


def _measured(
    classifier: Classifier,
    batches: list[_Batch],
    config: CounterfactualClaimConfig,
    solver: Solver,
    p: float,
    steps: int,
    progress: Progress,
    stage: str,
) -> _Answers:
    parts: list[list[Tensor]] = []
    done = 0
    with classifier:
        objective = ClassObjective(classifier)
        for batch in batches:
            eps = config.scale * default_radius(p, batch.x[0].numel())
            found = search(objective, batch.x, batch.target, p=p, eps=eps, steps=steps, solver=solver, keys=batch.keys)
            domain = Domain.around(batch.x, torch.full((len(batch.x),), eps, dtype=torch.float64), p)
            filled = objective.value(domain.filled(found.z), batch.target)[0]
            best = torch.nan_to_num(found.trajectory, nan=-math.inf).cummax(1).values
            parts.append(
                [
                    found.value.exp(),
                    found.value,
                    found.logits.argmax(1) == batch.target,
                    pix90(batch.x, found.z),
                    found.norm / eps,
                    mass_inside(batch.x, found.z, batch.mask.to(batch.x.device)),
                    filled - found.value,
                    found.value < best[:, -1] - 1e-4 * (1 + best[:, -1].abs()),
                ]
            )
            done += len(batch.x)
            if progress is not None:
                progress(ClaimProgress(stage, done, sum(len(b.x) for b in batches), passes=classifier.forwards))
    if not parts:
        return _Answers(*[np.zeros(0)] * 8)
    return _Answers(*(torch.cat(column).cpu().double().numpy() for column in zip(*parts, strict=True)))


# Words and intervals.


def _above_zero(gap: Interval) -> Verdict:
    """Whether an effect is positive; exactly zero is not."""
    return decide(gap.low, gap.high, float(np.nextafter(0.0, 1.0)))


def _all_above_zero(gaps: Sequence[Interval]) -> Verdict:
    verdicts: list[Verdict] = [_above_zero(gap) for gap in gaps]
    return both(*verdicts)


def _ratio(part: np.ndarray, whole: np.ndarray, seed: int) -> Interval:
    """Ratio of means with its bootstrap interval over images."""
    if not len(part) or whole.mean() <= 0:
        return _nothing()
    means = resampled_means(np.stack([part, whole], 1), _DRAWS, seed)
    low, high = np.quantile(means[:, 0] / means[:, 1], [0.025, 0.975])
    return Interval(float(part.mean() / whole.mean()), float(low), float(high))


def _nothing() -> Interval:
    return Interval(math.nan, math.nan, math.nan)


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if len(values) else None


def _listed(means: dict[float, float | None]) -> str:
    return ", ".join(f"{value:.3f} at p = {p:g}" for p, value in means.items() if value is not None)


def _share(interval: Interval) -> str:
    return f"{100 * interval.value:.3g} % ({100 * interval.low:.3g} to {100 * interval.high:.3g})"


def _result(effect: Interval, **fields: Any) -> ClaimResult:
    return ClaimResult(name="", title="", effect=effect.value, interval=(effect.low, effect.high), **fields)
