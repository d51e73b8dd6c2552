"""Claim counterfactuals.C6, whether judges agree with counterfactuals with and without guidance.

Source: ours, docs/methods/counterfactuals_trust.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from whywrong.core.errors import InputError
from whywrong.core.randomness import item_keys, keyed_uniform
from whywrong.core.statistics import exact_share, mean, share_p, sign_flip
from whywrong.explain.counterfactuals.config import default_radius
from whywrong.explain.counterfactuals.guidance import ConeGuidance, EnsembleGuidance
from whywrong.explain.counterfactuals.judges import (
    FEWEST_CONTROLS,
    check_judges,
    paired_threshold,
    read_target,
)
from whywrong.explain.counterfactuals.objectives import ClassObjective, Objective
from whywrong.explain.counterfactuals.solvers.maximize import check_exponent, maximize
from whywrong.models.classifier import Classifier
from whywrong.reproduce.protocol import (
    ClaimProgress,
    ClaimResult,
    LabelledImages,
    Part,
    both,
    bounds_in_words,
    verdicts_of,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustClaimConfig:
    """Settings of the claim ``counterfactuals.C6``.

    Attributes:
        limit: Largest number of images, the first in the order of the data; each is changed into one random class that
            no classifier predicts for it.
        p: Norm of the search, in [1, inf].
        eps: Radius in that norm; None uses the default of the image size.
        steps: Steps per search.
        way: How the second model guides: ``ensemble`` of probabilities, or ``cone`` around the explained gradient.
        angle: Largest angle of the cone, degrees, in (0, 90].
        convinced: Largest share of unguided counterfactuals that any judge may predict as their target. No judge
            predicts the target for the unchanged images. 0.1 is ours.
        seed: Seed of the targets.
    """

    limit: int = 100
    p: float = 1.5
    eps: float | None = None
    steps: int = 30
    way: Literal["ensemble", "cone"] = "ensemble"
    angle: float = 60.0
    convinced: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        check_exponent(self.p)
        for name in ("limit", "steps"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.eps is not None and not 0 < self.eps < float("inf"):
            raise InputError(f"eps must be positive and finite, got {self.eps}")
        if self.way not in ("ensemble", "cone"):
            raise InputError(f"way must be one of ensemble, cone, got {self.way!r}")
        if not 0 < self.angle <= 90:
            raise InputError(f"angle must be in (0, 90] degrees, got {self.angle}")
        if not 0 < self.convinced < 1:
            raise InputError(f"convinced must be a share in (0, 1), got {self.convinced}")


@dataclass(frozen=True, slots=True, eq=False)
class _Told:
    """Judgements of the counterfactuals of one kind of search, (N, J) each; ``reached`` is (N,)."""

    rise: Tensor
    flips: Tensor
    reached: Tensor


def guidance_convinces(
    models: Sequence[Classifier],
    data: LabelledImages,
    config: TrustClaimConfig,
    *,
    judges: Sequence[Classifier] = (),
    progress: Callable[[ClaimProgress], None] | None = None,
) -> ClaimResult:
    """Test claim C6, that guidance by a robust classifier convinces evaluators.

    Without it, changes of an ordinary classifier convince none. The first model is explained, the second guides; the
    judges take no part in the search. The effect is the rise of the judges' log-probability of the target with guidance
    minus that without, paired by image. The claim holds if that exceeds zero, and judges predict unguided
    counterfactuals as their target no more often than ``convinced``. Also measured: how many guided ones exceed the
    95th percentile of the rises of unguided ones.

    Raises:
        InputError: There is no judge, or two of the classifiers are the same.
    """
    explained, aux = models
    if not judges:
        raise InputError("this claim asks independent judges: give at least one with --judge MODEL")
    check_judges(explained, judges, aux)
    ways: dict[str, Objective] = {
        "plain": ClassObjective(explained),
        "guided": ConeGuidance(explained, aux, config.angle)
        if config.way == "cone"
        else EnsembleGuidance(explained, aux),
    }
    found: dict[str, list[_Told]] = {name: [] for name in ways}
    done = 0
    with explained, aux:
        for x, ids in _images(explained, data, config.limit):
            keys = item_keys(config.seed, ids, "counterfactuals.C6").to(x.device)
            target = _targets([explained, aux, *judges], x, keys)
            at = (target >= 0).nonzero().flatten()
            if not len(at):
                continue
            x, target, keys = x[at], target[at], keys[at]
            eps = default_radius(config.p, x[0].numel()) if config.eps is None else config.eps
            base, _ = read_target(judges, x, target)
            for name, objective in ways.items():
                z = maximize(objective, x, target, p=config.p, eps=eps, steps=config.steps, keys=keys).z
                log_p, flips = read_target(judges, z, target)
                told = _Told((log_p - base).cpu(), flips.cpu(), (explained.predict(z) == target).cpu())
                found[name].append(told)
            done += len(x)
            if progress is not None:
                progress(ClaimProgress("counterfactuals", done, config.limit, passes=explained.forwards))
    return _result({name: _joined(parts, len(judges)) for name, parts in found.items()}, config)


def _images(classifier: Classifier, data: LabelledImages, limit: int) -> Iterator[tuple[Tensor, list[str]]]:
    """Yield the first images with finite scores, with their ids, batch by batch."""
    left = limit
    for x, _, ids in data.batches(classifier):
        _, faults = classifier.logits_or_faults(x)
        good = [row for row in range(len(x)) if row not in faults][:left]
        if good:
            yield x[good].clamp(0, 1), [str(ids[row]) for row in good]
            left -= len(good)
        if not left:
            return


def _targets(classifiers: Sequence[Classifier], x: Tensor, keys: Tensor) -> Tensor:
    """Draw a random class (B,) int64 that no classifier predicts for the image.

    -1 if there is none.
    """
    free = torch.ones((len(x), classifiers[0].num_classes), dtype=torch.bool, device=x.device)
    for classifier in classifiers:
        free.scatter_(1, classifier.predict(x).clamp_min(0)[:, None], False)
    drawn = keyed_uniform(keys, (free.shape[1],)).where(free, -1.0).argmax(1)
    return drawn.where(free.any(1), -1)


def _joined(parts: Sequence[_Told], judges: int) -> _Told:
    if not parts:
        none = torch.zeros(0, judges)
        return _Told(none, none.bool(), torch.zeros(0, dtype=torch.bool))
    names = ("rise", "flips", "reached")
    return _Told(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


def _result(told: dict[str, _Told], config: TrustClaimConfig) -> ClaimResult:
    plain, guided = told["plain"], told["guided"]
    n, judges = plain.rise.shape
    gains = (guided.rise - plain.rise).mean(1).numpy()
    gain = mean(gains, seed=config.seed)
    # By image: several judges of one image are not independent trials.
    flipped = {name: int(one.flips.any(1).sum()) for name, one in told.items()}
    flips = {name: exact_share(hits, n) for name, hits in flipped.items()}
    few = Part(flips["plain"], share_p(flipped["plain"], n, config.convinced), config.convinced, above=False)
    more = Part(gain, float(sign_flip(gains[:, None], seed=config.seed)[0]))
    verdict = both(*verdicts_of([few, more]))
    numbers: dict[str, float | int | str | None] = {"judges": judges, "guided_beyond_plain": _beyond(plain, guided)}
    for name, one in told.items():
        numbers |= {
            f"{name}_judge_flips": flips[name].value if n else None,
            f"{name}_judge_flips_low": flips[name].low if n else None,
            f"{name}_judge_flips_high": flips[name].high if n else None,
            f"{name}_mean_judge_rise": float(one.rise.mean()) if n else None,
            f"{name}_flips_explained": float(one.reached.float().mean()) if n else None,
        }
    sentence = "no images: nothing to measure."
    if n:
        sentence = (
            f"without help, a judge reads {_percent(flips['plain'].value)} of {n} counterfactuals as their target "
            f"(95 % interval {_percent(flips['plain'].low)} to {_percent(flips['plain'].high)}), with guidance "
            f"({config.way}) {_percent(flips['guided'].value)}; judges' log-probability of the target rises by "
            f"{abs(gain.value):.2f} nats {'less' if gain.value < 0 else 'more'} with guidance "
            f"(difference: {bounds_in_words(gain.low, gain.high, '{:.2f}')})."
        )
    return ClaimResult(
        name="",
        title="",
        effect=gain.value,
        effect_name="rise of the judges' log-probability with guidance minus that without, nats",
        interval=(gain.low, gain.high),
        n=n,
        verdict=verdict,
        sentence=sentence,
        numbers=numbers,
        samples={f"judge rise, {name}": one.rise.mean(1).tolist() for name, one in told.items()} if n else {},
    )


def _beyond(plain: _Told, guided: _Told) -> float | None:
    """Compute the share of guided counterfactuals that convince every judge.

    A judge is convinced by a rise beyond the 95th percentile of the rises of unguided ones.
    """
    if len(plain.rise) < FEWEST_CONTROLS:
        return None
    _, threshold = paired_threshold(plain.rise[None])
    return float((guided.rise > threshold).all(1).float().mean())


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
