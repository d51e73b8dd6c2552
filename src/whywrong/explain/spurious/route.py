"""The counterfactual route, which changes images of other classes into one class and summarises the changes.

Source: Boreiko et al. 2022, arXiv 2205.07972, and its code. The changes of a network without robust gradients are
noise; the coherence of the gradients is measured here, and ``readable`` reports it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from whywrong.core.checks import bad_rows, check_images, check_labels
from whywrong.core.errors import InputError
from whywrong.core.statistics import Interval, wilson
from whywrong.explain.counterfactuals.config import default_radius
from whywrong.explain.counterfactuals.ladder import gradient_coherence
from whywrong.explain.counterfactuals.objectives import ClassObjective, Objective, log_probability
from whywrong.explain.counterfactuals.solvers.maximize import check_exponent, maximize
from whywrong.explain.counterfactuals.trust import TrustConfig
from whywrong.explain.spurious.change_mass import FEWEST, ClassChange, class_change
from whywrong.models.classifier import Classifier


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteConfig:
    """Settings of :func:`changes_into`.

    Attributes:
        p: Exponent of the norm that bounds the change, in [1, inf].
        eps: Radius in that norm; None uses the default of the image size.
        steps: Steps per search.
        side: Side of the crops around the largest change, pixels; None is a quarter of the shorter side.
        clusters: Largest number of groups of crops.
        fewest: Smallest number of images accepted.
    """

    p: float = 1.5
    eps: float | None = None
    steps: int = 30
    side: int | None = None
    clusters: int = 4
    fewest: int = FEWEST

    def __post_init__(self) -> None:
        check_exponent(self.p)
        if self.eps is not None and not 0 < self.eps < float("inf"):
            raise InputError(f"eps must be positive and finite, got {self.eps}")
        for name in ("steps", "clusters", "fewest"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """Counterfactuals of many images into one class.

    Attributes:
        change: Their common features: mean change, share outside the object, medoids of the strongest crops.
        changed: (B, C, H, W), float32, the counterfactuals.
        valid: Share of them predicted as the class.
        start, end: (B,), float32, probability of the class in the images and in their counterfactuals.
        coherence: Median cosine between the gradient at a counterfactual and at noisy copies of it.
        readable: Whether the coherence is that of a robust classifier; otherwise the changes are noise, and their
            common features are meaningless.
        forwards, backwards: (B,), int64, passes of the classifier.
    """

    change: ClassChange
    changed: Tensor
    valid: Interval
    start: Tensor
    end: Tensor
    coherence: float
    readable: bool
    forwards: Tensor
    backwards: Tensor


def changes_into(
    classifier: Classifier,
    x: Tensor,
    target: int,
    *,
    objects: Tensor | None = None,
    objective: Objective | None = None,
    config: RouteConfig | None = None,
) -> Route:
    """Change images into one class and summarise the changes.

    Args:
        classifier: Must grant gradients. For an ordinary model, use a robust copy of it.
        x: Images of other classes, (B, C, H, W), floating point, in [0, 1]; at least ``config.fewest``.
        target: Index of the class.
        objects: (B, H, W), bool, masks or boxes of the object in each image; an empty mask means "not known".
        objective: Objective that replaces the log-probability of the class, such as one with guidance by another model.
        config: Settings; None uses the defaults.

    Raises:
        InputError: There are too few images, pixels are invalid, or the class does not exist.
        AccessError, NotDifferentiableError: No gradient reaches the pixels.
    """
    config = config or RouteConfig()
    check_images(x, classifier.preprocess.channels if classifier.preprocess else None)
    targets = torch.full((len(x),), target, dtype=torch.int64, device=x.device)
    check_labels(targets, len(x), None if classifier.classes is None else len(classifier.classes), what="target")
    if len(x) < config.fewest:
        raise InputError(f"class {target}: {len(x)} images, a common change needs at least {config.fewest}")
    if bool(bad_rows(x).any()):
        row = int(bad_rows(x).nonzero()[0])
        raise InputError(f"image {row} has values that are not finite or outside [0, 1]; leave it out")
    eps = default_radius(config.p, x[0].numel()) if config.eps is None else config.eps
    with classifier:
        found = maximize(objective or ClassObjective(classifier), x, targets, p=config.p, eps=eps, steps=config.steps)
        trust = TrustConfig()
        cosine = gradient_coherence(classifier, found.z, targets, config=trust)
    known = cosine[~cosine.isnan()]
    coherence = float(known.median()) if len(known) else float("nan")
    change = class_change(
        x.float(), found.z, target, objects=objects, side=config.side, clusters=config.clusters, fewest=config.fewest
    )
    passes = 1 + trust.draws  # of the coherence
    return Route(
        change=change,
        changed=found.z,
        valid=wilson(int((found.logits.argmax(1) == targets.to(found.logits.device)).sum()), len(x)),
        start=found.trajectory[:, 0].exp(),
        end=log_probability(found.logits, targets.to(found.logits.device)).exp(),
        coherence=coherence,
        readable=coherence >= trust.coherent,
        forwards=found.forwards + passes,
        backwards=found.backwards + passes,
    )
