"""Choice of guidance for a classifier whose own gradient is not readable.

The rungs, from the cheapest: the classifier's own gradient, if it keeps its direction under noise; a robust auxiliary
classifier; a robust, fine-tuned copy; smoothing, for a classifier that was trained with noise; a denoiser. If none is
available, the last rung refuses to draw noise as an explanation, and says so.

Source: ours, docs/methods/counterfactuals_trust.md; the threshold of the first rung is that of the trust verdict.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from whywrong.core.checks import check_images, check_keys, check_labels
from whywrong.core.errors import InputError
from whywrong.core.randomness import row_keys
from whywrong.explain.counterfactuals.finetune import Finetuned
from whywrong.explain.counterfactuals.guidance import (
    WAYS,
    DenoisedGuidance,
    Denoiser,
    SmoothGuidance,
    Way,
    guided_by,
)
from whywrong.explain.counterfactuals.objectives import ClassObjective, Objective
from whywrong.explain.counterfactuals.trust import TrustConfig, mean_cosine
from whywrong.models.classifier import Classifier

Rung = Literal["own gradient", "auxiliary", "robust copy", "smoothing", "denoiser", "refusal"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LadderStep:
    """One rung of the ladder.

    Attributes:
        rung: Its name.
        available: Whether it can be used.
        words: Description of what it does, or of what is missing.
    """

    rung: Rung
    available: bool
    words: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Guide:
    """The chosen rung, ready for a search.

    Attributes:
        rung: The cheapest available rung.
        explained: The classifier that the counterfactuals explain: the user's own, or its robust copy.
        objective: Objective of the search; if the rung is a refusal, that of the plain gradient, whose result must not
            be drawn as an explanation.
        aux: The auxiliary classifier, which must not judge; None without one.
        steps: All rungs, from the cheapest.
        words: The choice and its reason, for the report.
    """

    rung: Rung
    explained: Classifier
    objective: Objective
    aux: Classifier | None
    steps: tuple[LadderStep, ...]
    words: str

    @property
    def drawable(self) -> bool:
        """Whether counterfactuals may be drawn as an explanation before any judge has been consulted."""
        return self.rung != "refusal"


def gradient_coherence(
    classifier: Classifier,
    x: Tensor,
    target: Tensor,
    *,
    keys: Tensor | None = None,
    config: TrustConfig | None = None,
) -> Tensor:
    """Compute the mean cosine between the gradient at images and at noisy copies.

    It is near 1 for robust classifiers.

    Args:
        classifier: Must grant gradients.
        x: (B, C, H, W), floating point, in [0, 1].
        target: (B,), int64, classes whose log-probability is differentiated.
        keys: (B,), int64, seeds of the noise; None uses (config.seed, row).
        config: Only ``sigma``, ``draws`` and ``seed`` are used; None uses the defaults.

    Returns:
        (B,), in [-1, 1]; NaN if a gradient is zero. One forward and backward pass, and one per draw.

    Raises:
        InputError: A shape, type or class breaks the contract.
        AccessError: The classifier grants no gradients.
    """
    config = config or TrustConfig()
    check_images(x)
    check_labels(target, len(x), None if classifier.classes is None else len(classifier.classes), what="target")
    keys = row_keys(config.seed, len(x), x.device) if keys is None else keys
    check_keys(keys, len(x))
    with classifier:
        return mean_cosine(classifier, x.detach().float(), target, keys, config)[0]


def choose_guide(
    classifier: Classifier,
    *,
    coherence: float | None = None,
    aux: Classifier | None = None,
    copy: Finetuned | None = None,
    trained_with_noise: bool = False,
    denoiser: Denoiser | None = None,
    way: Way = "ensemble",
    angle: float = 60.0,
    sigma: float = 0.1,
    samples: int = 8,
    temperature: float = 1.0,
    config: TrustConfig | None = None,
) -> Guide:
    """Choose the cheapest available rung.

    Args:
        classifier: The user's own; must grant gradients.
        coherence: Median of :func:`gradient_coherence` over some images; None if it was not measured, in which case the
            first rung is not used.
        aux: A robust classifier of the same classes.
        copy: A robust copy, from :func:`whywrong.explain.counterfactuals.finetune.finetune`.
        trained_with_noise: Whether the classifier was trained on images with Gaussian noise.
        denoiser: Maps images to denoised images, differentiable.
        way: How ``aux`` guides: by an average of probabilities, or by turning the gradient toward its own.
        angle: Largest angle of the cone, degrees.
        sigma: Standard deviation of the smoothing noise, [0, 1] units.
        samples: Noisy copies of the smoothing.
        temperature: Divides the logits of the explained classifier.
        config: Its ``coherent`` is the threshold of the first rung; None uses the defaults.

    Raises:
        InputError: A setting is out of range, or ``aux`` does not fit.
        AccessError: ``aux`` grants no gradients.
    """
    if way not in WAYS:
        raise InputError(f"way must be one of {', '.join(WAYS)}, got {way!r}")
    bound = (config or TrustConfig()).coherent
    steps = _steps(coherence, bound, aux, copy, trained_with_noise, denoiser)
    taken = next(step for step in steps if step.available)
    explained, objective, helper = classifier, ClassObjective(classifier, temperature=temperature), None
    if taken.rung == "auxiliary":
        assert aux is not None
        objective = guided_by(classifier, aux, way, angle, temperature)
        helper = aux
    elif taken.rung == "robust copy":
        assert copy is not None
        explained, objective = copy.classifier, ClassObjective(copy.classifier, temperature=temperature)
    elif taken.rung == "smoothing":
        objective = SmoothGuidance(classifier, sigma, samples, temperature)
    elif taken.rung == "denoiser":
        assert denoiser is not None
        objective = DenoisedGuidance(classifier, denoiser, temperature)
    return Guide(rung=taken.rung, explained=explained, objective=objective, aux=helper, steps=steps, words=taken.words)


def _steps(
    coherence: float | None,
    bound: float,
    aux: Classifier | None,
    copy: Finetuned | None,
    trained_with_noise: bool,
    denoiser: Denoiser | None,
) -> tuple[LadderStep, ...]:
    coherent = coherence is not None and coherence >= bound
    if coherence is None:
        own = "whether its own gradient keeps its direction under noise was not measured"
    else:
        verb = "keeps" if coherent else "does not keep"
        own = f"its own gradient {verb} its direction under small noise (cosine {coherence:.2f}, bound {bound:g})"
    return (
        LadderStep(rung="own gradient", available=coherent, words=own),
        LadderStep(
            rung="auxiliary",
            available=aux is not None,
            words="guided by a robust classifier of the same classes"
            if aux is not None
            else "no robust classifier of the same classes was given",
        ),
        LadderStep(
            rung="robust copy",
            available=copy is not None,
            words=f"a robust copy is explained; {copy.note}" if copy is not None else "no robust copy was trained",
        ),
        LadderStep(
            rung="smoothing",
            available=trained_with_noise,
            words="the objective is averaged over noise, as in training"
            if trained_with_noise
            else "it was not said to be trained with noise, and smoothing brings nothing to one that was not",
        ),
        LadderStep(
            rung="denoiser",
            available=denoiser is not None,
            words="changes that a denoiser removes do not count" if denoiser is not None else "no denoiser was given",
        ),
        LadderStep(
            rung="refusal",
            available=True,
            words=f"{own}, and there is no help: its counterfactuals are adversarial noise and are not drawn as an "
            "explanation; give a robust classifier of the same classes, or fine-tune a copy",
        ),
    )
