"""Settings of counterfactuals, and default radii that scale with the resolution."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from whywrong.core.errors import InputError
from whywrong.explain.counterfactuals.guidance import WAYS, Way
from whywrong.explain.counterfactuals.named import check_named
from whywrong.explain.counterfactuals.objectives import OBJECTIVES, ObjectiveName
from whywrong.explain.counterfactuals.solvers.maximize import Solver, check_exponent, check_solver
from whywrong.models.classifier import Classifier

_REFERENCE_ENTRIES = 3 * 224 * 224
_REFERENCE_RADII = ((0.0, 8 / 255), (1 / 2, 18.0), (2 / 3, 75.0), (1.0, 600.0))  # (1/p, radius) there


def default_radius(p: float, entries: int) -> float:
    """Return the default radius of the l_p norm for an image size.

    ``entries`` is C*H*W; pixels are in [0, 1].

    At 3 x 224 x 224 it is 600, 75, 18 and 8/255 for p = 1, 1.5, 2 and inf (in between, logarithms are interpolated over
    1/p); at other sizes the mean change of a pixel is kept, a factor (entries / 150,528)^(1/p).

    Source: radii of arXiv 2205.07972 (middle of three); the one for inf and the scaling are ours.
    """
    check_exponent(p)
    inverse = 0.0 if p == math.inf else 1 / p
    at, radii = zip(*_REFERENCE_RADII, strict=True)
    logarithm = float(np.interp(inverse, at, np.log(radii)))
    return math.exp(logarithm) * (entries / _REFERENCE_ENTRIES) ** inverse


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterfactualConfig:
    """Settings of :func:`whywrong.explain.counterfactuals.counterfactual`, checked once, when built.

    Attributes:
        p: Exponent of the norm that bounds the change, over all channels and pixels together, in [1, inf]. Near 1 few
            pixels change much, near inf all change a little; 1.5 squares the gradient.
        radii: Radii to search in that norm, pixels in [0, 1]; empty uses :func:`default_radius` of the image size.
        steps: Steps per search; 30 are as effective as 75 of the published solver.
        solver: ``fw`` is the default; ``afw-v1``, ``afw-v2`` and, for p = 1, 2 and inf, ``apgd`` exist for
            reproduction.
        objective: ``log_probability`` of the target; its ``margin`` over the best other class; or ``joint``,
            log-probability of the target minus that of the source class: the predicted one, or the true one if the
            target is the predicted one.
        temperature: Divides the logits before the softmax, in the search and in every reported probability.
        momentum: Share of earlier directions in each direction of ``fw``, in [0, 1).
        stop_conf: A search ends once the image is predicted as its target with this probability; None takes all steps.
        gap_tolerance: A search ends once its Frank-Wolfe gap is at most this share of its largest value; 0 never ends
            early.
        warm: With several radii, start the smaller ones from the result of the largest, with half the steps.
        smallest: Also look for the smallest radius at which the first target is reached, by its margin.
        smallest_solves: Searches for it, each starting from the previous result.
        smallest_steps: Steps of each of these searches.
        trust: Also judge whether the change is meaningful (:func:`whywrong.explain.counterfactuals.trust.trust` with
            its default settings): 16 forward and 5 backward passes per counterfactual.
        aux: A robust model of the same classes and input size that guides the search, by the name that
            ``load_classifier`` takes; empty for none. It must not be a judge too. With it, the unguided counterfactual
            of the explained model is among the controls, which costs 31 more forward and backward passes if there are
            judges.
        way: How ``aux`` guides: ``cone`` turns the gradient toward its own, ``ensemble`` averages the probabilities.
        angle: Largest angle by which the cone turns a gradient, degrees, in (0, 90].
        judges: Models that judge if the caller passes none, by the names that ``load_classifier`` takes, such as
            ``nets.py:robust``; preferably adversarially trained, of the same classes and input size. Without a judge no
            change is called semantic, and none is drawn as an explanation.
        seed: Seed of noise and random starts if the caller passes no keys.

    Example:
        >>> import whywrong as ww
        >>> ww.CounterfactualConfig(p=2.0, steps=10).solver
        'fw'
    """

    p: float = 1.5
    radii: tuple[float, ...] = ()
    steps: int = 30
    solver: Solver = "fw"
    objective: ObjectiveName = "log_probability"
    temperature: float = 1.0
    momentum: float = 0.5
    stop_conf: float | None = None
    gap_tolerance: float = 1e-4
    warm: bool = False
    smallest: bool = False
    smallest_solves: int = 6
    smallest_steps: int = 6
    trust: bool = True
    aux: str = ""
    way: Way = "cone"
    angle: float = 60.0
    judges: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        check_exponent(self.p)
        check_solver(self.solver, self.p)
        for radius in self.radii:
            if not 0 < radius < math.inf:
                raise InputError(f"radii must be positive and finite (pixels are in [0, 1]), got {radius}")
            if self.p == math.inf and radius > 1:
                raise InputError(f"radii for p = inf must be in (0, 1], got {radius}; 8 grey levels are 8/255")
        if self.objective not in OBJECTIVES:
            raise InputError(f"objective must be one of {', '.join(OBJECTIVES)}, got {self.objective!r}")
        for name in ("steps", "smallest_solves", "smallest_steps"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.way not in WAYS:
            raise InputError(f"way must be one of {', '.join(WAYS)}, got {self.way!r}")
        if not 0 < self.angle <= 90:
            raise InputError(f"angle must be in (0, 90] degrees, got {self.angle}")
        if self.aux and self.objective != "log_probability":
            raise InputError(f"aux guides log_probability; with objective {self.objective} it cannot, leave one out")
        if self.aux in self.judges and self.aux:
            raise InputError(f"{self.aux} guides the search as aux, so that it cannot judge it; name another judge")
        if not 0 < self.temperature < math.inf:
            raise InputError(f"temperature must be positive and finite, got {self.temperature}")
        for name in ("momentum", "gap_tolerance"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} must be in [0, 1), got {getattr(self, name)}")
        if self.stop_conf is not None and not 0 <= self.stop_conf <= 1:
            raise InputError(f"stop_conf must be a probability in [0, 1], got {self.stop_conf}")

    def check_models(self, classifier: Classifier, shape: tuple[int, int, int]) -> None:
        """Refuse ``aux`` and ``judges`` that do not fit ``classifier``.

        ``classifier`` takes images (C, H, W). A run calls this before it computes anything.

        Raises:
            InputError, AccessError, ModelError: As for :func:`whywrong.explain.counterfactuals.named.check_named`.
        """
        check_named(classifier, self.aux, self.judges, shape)
