"""Verdict on whether a counterfactual is meaningful, from judges, damage and gradients.

A counterfactual explains a classifier only if its change is meaningful. Ordinary classifiers follow changes that are
meaningless to other observers, and no probability reveals this. Three tests do:

* **judges**: classifiers that took no part in the search rise toward the target more than under controls
  (:mod:`whywrong.explain.counterfactuals.judges`);
* **survival**: what the change brought is still there after rounding to 8 bit, JPEG and small noise;
* **coherence**: the gradient keeps its direction under small noise, as that of a robust classifier does.

Source: ours, docs/methods/counterfactuals_trust.md; bounds calibrated by ``benchmarks/counterfactuals_trust.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from whywrong.core.checks import check_images, check_keys, check_labels
from whywrong.core.errors import InputError
from whywrong.core.randomness import keyed_normal, row_keys
from whywrong.core.result import MethodResult
from whywrong.data.corruptions.digital import jpeg_compression
from whywrong.data.corruptions.filters import gaussian_filter
from whywrong.explain.counterfactuals.judges import FEWEST_CONTROLS, ControlKind, Opinion, ask_judges, check_judges
from whywrong.explain.counterfactuals.objectives import ClassObjective, log_probability
from whywrong.models.classifier import Classifier

TrustVerdict = Literal["semantic", "adversarial", "undecided"]
DAMAGES = ("8-bit", "JPEG", "noise", "blur")
_DECISIVE = 3  # the first three; a blur also removes real detail and is only reported
_LEAST_RISE = 0.01  # nats; a class that was certain before can hardly rise, survive or convince
_NOISE_DRAW = 1 << 20  # separates the noise from other draws of the same keys


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustConfig:
    """Settings of :func:`trust`, checked once, when built.

    Attributes:
        quantile: Share of the controls that the rise of a judge must exceed, in (0.5, 1).
        controls: Shuffled controls per image if there are no ordinary classifiers; at least 20.
        stretch: Factor of the percentile of shuffled controls, since they are weaker than counterfactuals of ordinary
            classifiers; at least 1.
        control_steps: Steps of the search for a control; at least 1.
        sigma: Standard deviation of the noise of survival and coherence, [0, 1] units, in (0, 1].
        draws: Noisy copies per image; at least 1.
        jpeg_quality: 1 to 95.
        blur: Standard deviation of the blur, pixels; positive.
        kept: Share of the rise of the target's log-probability that must remain after each damage except the blur,
            otherwise the change is fragile; in (0, 1).
        incoherent: Mean cosine of gradients below which the classifier counts as ordinary, in (-1, 1).
        coherent: Mean cosine from which the classifier counts as robust, in [incoherent, 1). Below it, judges that were
            compared with shuffled controls only make nothing semantic.
        seed: Seed of noise and controls if the caller passes no keys.
    """

    quantile: float = 0.95
    controls: int = FEWEST_CONTROLS
    stretch: float = 2.0
    control_steps: int = 30
    sigma: float = 0.05
    draws: int = 4
    jpeg_quality: int = 75
    blur: float = 0.7
    kept: float = 0.5
    incoherent: float = 0.45
    coherent: float = 0.6
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.5 < self.quantile < 1:
            raise InputError(f"quantile must be in (0.5, 1), got {self.quantile}")
        if self.controls < FEWEST_CONTROLS:
            raise InputError(f"controls must be at least {FEWEST_CONTROLS}, got {self.controls}")
        if not self.stretch >= 1:
            raise InputError(f"stretch must be at least 1, got {self.stretch}")
        for name in ("control_steps", "draws"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 < self.sigma <= 1:
            raise InputError(f"sigma must be in (0, 1] (pixels are in [0, 1]), got {self.sigma}")
        if not 1 <= self.jpeg_quality <= 95:
            raise InputError(f"jpeg_quality must be in 1..95, got {self.jpeg_quality}")
        if not self.blur > 0:
            raise InputError(f"blur must be positive (pixels), got {self.blur}")
        if not 0 < self.kept < 1:
            raise InputError(f"kept must be in (0, 1), got {self.kept}")
        if not -1 < self.incoherent < 1:
            raise InputError(f"incoherent must be a cosine in (-1, 1), got {self.incoherent}")
        if not self.incoherent <= self.coherent < 1:
            raise InputError(f"coherent must be a cosine in [incoherent, 1), got {self.coherent}")


@dataclass(frozen=True, slots=True, eq=False)
class TrustResult(MethodResult):
    """Verdicts on counterfactuals and the evidence for them.

    Attributes:
        verdict: ``semantic``, ``adversarial`` or ``undecided``, one per image.
        reason: Its reason in words, one per image.
        score: (B,), how far the least convinced judge exceeds the controls: 1 at its threshold, 0 at the centre of the
            controls; NaN without judges.
        opinion: Judgements of the judges, and which controls were used.
        rise: (B,), nats, rise of the explained classifier's log-probability of the target.
        survival: (B, 4), target's probability after the damages of ``DAMAGES``.
        kept: (B, 4), share of ``rise`` that remains when image and counterfactual are damaged alike; NaN if nothing
            rose, and for JPEG if images have neither 1 nor 3 channels.
        coherence: (B,), mean cosine between the gradient at the counterfactual and at noisy copies; NaN if a gradient
            is zero.
        forwards: (B,), int64, passes of the explained classifier.
        backwards: (B,), int64.
    """

    verdict: Sequence[TrustVerdict]
    reason: Sequence[str]
    score: Tensor
    opinion: Opinion
    rise: Tensor
    survival: Tensor
    kept: Tensor
    coherence: Tensor
    forwards: Tensor
    backwards: Tensor

    def columns(self) -> Mapping[str, Tensor | Sequence[Any]]:
        """Return the columns of the table.

        Those of judges are lists in the order of the judges.
        """
        return {
            "trust": self.verdict,
            "trust_reason": self.reason,
            "trust_score": self.score,
            "judge_rise": self.opinion.rise.tolist(),
            "judge_threshold": self.opinion.threshold.tolist(),
            "judge_agrees": self.opinion.agrees.tolist(),
            "judge_flips": self.opinion.flips.tolist(),
            "trust_controls": [self.opinion.kind] * len(self.verdict),
            "survival": self.survival.tolist(),
            "kept": self.kept.tolist(),
            "coherence": self.coherence,
            "judge_forwards": self.opinion.judge_forwards,
        }


def trust(
    classifier: Classifier,
    x: Tensor,
    vce: Tensor,
    target: Tensor,
    *,
    judges: Sequence[Classifier] = (),
    aux: Classifier | None = None,
    guided: bool = False,
    plain: Sequence[Classifier] = (),
    plain_vces: Sequence[Tensor] = (),
    paired: bool = False,
    p: float = 1.5,
    keys: Tensor | None = None,
    config: TrustConfig | None = None,
) -> TrustResult:
    """Judge whether counterfactuals are meaningful.

    Args:
        classifier: The explained one; must grant gradients.
        x: Originals, (B, C, H, W), floating point, in [0, 1]; left untouched.
        vce: Their counterfactuals, (B, C, H, W), in [0, 1].
        target: Classes they were changed into, (B,), int64.
        judges: Independent classifiers of the same classes, preferably trained to be robust. Without any the verdict is
            never ``semantic``.
        aux: The auxiliary classifier of the search, if any; it must not judge.
        guided: Whether the search used more than the plain gradient; implied by ``aux``. Without guidance, incoherent
            gradients make nothing semantic, whatever judges say.
        plain: Ordinary classifiers whose counterfactuals are the controls; they must not judge. The explained one may
            be among them if the search was guided: its unguided counterfactuals are the controls of the guided ones.
            With ``plain`` the thresholds are those of the whole batch, unless ``paired``; without, those of each image
            alone.
        plain_vces: Existing counterfactuals of further ordinary classifiers for the same images and targets, (B, C, H,
            W) each; they are scaled to the norm of ``vce``.
        paired: Compare each image with its own controls only: counterfactuals of ``plain`` and ``plain_vces`` for it,
            and shuffled ones. Verdicts then do not depend on the rest of the batch.
        p: Norm of the search, in which controls are as large as the change.
        keys: Seeds of each image's noise and controls, (B,), int64; None uses (config.seed, row).
        config: Settings; None uses the defaults.

    Returns:
        Verdicts, reasons, and their numbers.

    Raises:
        InputError: A shape, type or class breaks the contract, or a judge is not independent.
        AccessError: The explained classifier grants no gradients, or a judge no scores.
    """
    config = config or TrustConfig()
    check_images(x)
    for changed in (vce, *plain_vces):
        if changed.shape != x.shape:
            shapes = f"{tuple(x.shape)}, got {tuple(changed.shape)}"
            raise InputError(f"counterfactuals must have the shape of the images {shapes}")
    check_labels(target, len(x), None if classifier.classes is None else len(classifier.classes), what="target")
    guided = guided or aux is not None
    check_judges(classifier, judges, aux, plain, guided=guided)
    if keys is None:
        keys = row_keys(config.seed, len(x), x.device)
    check_keys(keys, len(x))
    x, vce = x.detach().float(), vce.detach().float()
    with classifier:
        coherence, at_vce, at_noisy = mean_cosine(classifier, vce, target, keys, config)
        rise, survival, kept = _survival(classifier, x, vce, target, keys, at_vce, at_noisy, config)
    opinion = ask_judges(
        judges, x, vce, target, keys, plain=plain, plain_vces=plain_vces, paired=paired, p=p, controls=config.controls,
        stretch=config.stretch, quantile=config.quantile, steps=config.control_steps, explained=classifier,
    )  # fmt: skip
    verdict, reason = _verdicts(rise, kept, coherence, opinion, len(judges), config, guided=guided)
    each = torch.ones_like(target)
    jpeg = 2 if x.shape[1] in (1, 3) else 0
    return TrustResult(
        verdict=verdict,
        reason=reason,
        score=opinion.score,
        opinion=opinion,
        rise=rise,
        survival=survival,
        kept=kept,
        coherence=coherence,
        forwards=each * (6 + jpeg + 2 * config.draws) + opinion.own_passes[0],
        backwards=each * (1 + config.draws) + opinion.own_passes[1],
    )


def mean_cosine(
    classifier: Classifier, x: Tensor, target: Tensor, keys: Tensor, config: TrustConfig
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the coherence of gradients, inside ``with classifier:``.

    Returns:
        Mean cosine (B,) between the gradient at ``x`` (B, C, H, W) and at noisy copies; log-probability of ``target``
        (B,) at ``x``; and its mean over the copies (B,).
    """
    objective = ClassObjective(classifier)
    value, grad, _ = objective.gradient(x, target)
    axis = _direction(grad)
    cosines, values = [], []
    for draw in range(config.draws):
        noisy_value, noisy_grad, _ = objective.gradient(_noisy(x, keys, draw, config), target)
        cosines.append((axis * _direction(noisy_grad)).sum(1))
        values.append(noisy_value)
    return torch.stack(cosines).mean(0).float(), value, torch.stack(values).mean(0)


def _direction(grad: Tensor) -> Tensor:
    """Return the gradient as unit vectors (B, D), float64.

    NaN if the gradient is zero.
    """
    flat = grad.flatten(1).double()
    return flat / flat.norm(dim=1, keepdim=True)


def _noisy(x: Tensor, keys: Tensor, draw: int, config: TrustConfig) -> Tensor:
    """Return a noisy copy, clipped to [0, 1] like every input of a classifier."""
    return (x + config.sigma * keyed_normal(keys, x.shape[1:], _NOISE_DRAW + draw).to(x.dtype)).clamp(0, 1)


def _survival(
    classifier: Classifier,
    x: Tensor,
    vce: Tensor,
    target: Tensor,
    keys: Tensor,
    at_vce: Tensor,
    at_noisy: Tensor,
    config: TrustConfig,
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute how far the rise survives each damage.

    Returns the rise (B,), probability after each damage (B, 4), share of the rise that remains (B, 4).
    """

    def log_p(z: Tensor) -> Tensor:
        return log_probability(classifier.logits(z), target)

    unknown = torch.full_like(at_vce, torch.nan)
    rise = at_vce - log_p(x)
    quality, pictures = config.jpeg_quality, x.shape[1] in (1, 3) and len(x) > 0
    after = {
        "8-bit": [log_p((z * 255).round() / 255) for z in (x, vce)],
        "JPEG": [log_p(jpeg_compression(z, keys, quality)) if pictures else unknown for z in (x, vce)],
        "noise": [
            torch.stack([log_p(_noisy(x, keys, draw, config)) for draw in range(config.draws)]).mean(0),
            at_noisy,
        ],
        "blur": [log_p(gaussian_filter(z, config.blur)) for z in (x, vce)],
    }
    survival = torch.stack([after[name][1].exp() for name in DAMAGES], 1)
    left = torch.stack([after[name][1] - after[name][0] for name in DAMAGES], 1)
    kept = (left / rise[:, None]).where((rise > 0)[:, None], torch.nan)
    return rise, survival, kept


def _verdicts(
    rise: Tensor, kept: Tensor, coherence: Tensor, opinion: Opinion, judges: int, config: TrustConfig, *, guided: bool
) -> tuple[list[TrustVerdict], list[str]]:
    worst, damage = torch.nan_to_num(kept[:, :_DECISIVE], nan=torch.inf).min(dim=1)
    columns = (rise, worst, damage, coherence, opinion.agrees.sum(1))
    found: list[tuple[TrustVerdict, str]] = []
    for up, left, which, cosine, agreeing in zip(*(column.tolist() for column in columns), strict=True):
        found.append(_verdict(up, left, which, cosine, agreeing, judges, opinion.kind, config, guided=guided))
    return [verdict for verdict, _ in found], [reason for _, reason in found]


def _verdict(
    rise: float,
    kept: float,
    damage: int,
    coherence: float,
    agreeing: int,
    judges: int,
    controls: ControlKind,
    config: TrustConfig,
    *,
    guided: bool,
) -> tuple[TrustVerdict, str]:
    """Return one verdict with its reason.

    Semantic requires agreement of every judge, a change that survives, and coherent gradients or guidance. Adversarial
    requires a sign in the classifier (incoherent gradients, or a change that does not survive) and no judge that
    agrees. Otherwise the verdict is undecided.
    """
    if not rise > 0:
        return "undecided", "the explained classifier itself did not move toward the target"
    if rise < _LEAST_RISE:
        return "undecided", f"the target's log-probability rose by {rise:.1g} nats only: there is too little to judge"
    fragile, incoherent = kept < config.kept, coherence < config.incoherent
    signs = []
    if incoherent:
        signs.append(f"its gradients have no common direction (cosine {coherence:.2f} under small noise)")
    if fragile:
        signs.append(f"{DAMAGES[damage]} leaves {max(kept, 0):.0%} of the change's effect")
    kept_direction = "their direction" if coherence >= config.coherent else "some of their direction"
    said = " and ".join(signs) if signs else f"the change lasts and gradients keep {kept_direction}"
    if not judges:
        lacking = "no independent classifier judged it"
        return ("adversarial", said) if signs else ("undecided", f"{said}, but {lacking}")
    who = f"{agreeing} of {judges} judges agree{'s' if judges == 1 else ''}"
    if agreeing == judges and not fragile:
        if controls == "permuted" and not coherence >= config.coherent:
            weak = "but only against shuffled controls, which are too weak for gradients of such coherence"
            return "undecided", f"{who}, {weak} ({coherence:.2f}): give ordinary classifiers for controls"
        if incoherent and not guided:
            return "undecided", f"{who}, but {said}, and nothing guided the search"
        return "semantic", f"{who} beyond the controls, and the change lasts"
    if agreeing == 0 and signs:
        return "adversarial", f"{who}, and {said}"
    return "undecided", f"{who}; {said}"
