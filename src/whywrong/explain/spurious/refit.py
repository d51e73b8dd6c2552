"""Refitting the last layer on images that show little of the spurious components, as an alternative to SpuFix.

Source: Moayeri et al. 2023, "Spuriosity Rankings", arXiv 2212.02648 (abstract level): images of a class are ranked by
how much they show of its spurious features, and the head is refitted on those that show least. Here the ranking is by
the spurious components of neural PCA; the fit is one convex problem, solved to its optimum: weighted cross entropy plus
a penalty on the distance from the original head. Classes without spurious components keep all their images.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from whywrong.core.errors import InputError, ModelError
from whywrong.explain.spurious.features import Features
from whywrong.explain.spurious.neural_pca import ClassComponents
from whywrong.models.answers import read_scores
from whywrong.models.classifier import Classifier
from whywrong.models.layers.last_layer import LastLayer, find_last_layer, tapped

SOLVED = 1e-3  # final slope as a share of the initial one below which the fit counts as solved


@dataclass(frozen=True, slots=True, eq=False)
class Refit:
    """Change of a head, and how it was fitted.

    Attributes:
        weight: (K, D), float32, added to the weights of the last layer.
        bias: (K,), float32, added to its biases.
        images: Number of images it was fitted on.
        left_out: Number of images of the repaired classes that showed too much.
        before, after: Objective of the original and of the refitted head, nats.
        slope: Norm of its gradient at the end, as a share of that at the start; checks convergence.
    """

    weight: Tensor
    bias: Tensor
    images: int
    left_out: int
    before: float
    after: float
    slope: float

    @property
    def solved(self) -> bool:
        """Whether the fit reached its optimum."""
        return self.slope <= SOLVED

    def __call__(self, phi: Tensor) -> Tensor:
        """Compute the logits (B, K) to add, for features (B, D)."""
        return phi @ self.weight.T + self.bias


def low_spuriosity(
    features: Features,
    components: Mapping[int, ClassComponents],
    spurious: Mapping[int, Sequence[int]],
    share: float = 0.5,
) -> Tensor:
    """Select the images to fit on.

    These are all images of the other classes and, of each repaired class, those that show least.

    Args:
        features: Features of N images, preferably those that the classifier was trained on.
        components: Neural PCA by class index.
        spurious: Numbers of the spurious components, from 0, by class index.
        share: Share of a repaired class's images that is kept, in (0, 1); those with the smallest sum of alpha over its
            spurious components.

    Returns:
        (M,), int64, rows in ascending order.

    Raises:
        InputError: There is no component, the share is out of range, or a class has no images.
    """
    if not 0 < share < 1:
        raise InputError(f"share must be in (0, 1), got {share}")
    if not any(len(numbers) for numbers in spurious.values()):
        raise InputError("nothing to repair: no component is named spurious")
    keep = torch.ones(len(features), dtype=torch.bool)
    for index, numbers in spurious.items():
        own = (features.label == index).nonzero().flatten()
        if not len(own):
            raise InputError(f"class {index} has no images to fit its head on")
        shown = components[index].alphas(features.phi[own])[:, list(numbers)].sum(1)
        least = shown.argsort(stable=True)[: max(1, int(share * len(own)))]
        keep[own] = False
        keep[own[least]] = True
    return keep.nonzero().flatten()


def refit_head(features: Features, rows: Tensor, *, pull: float = 1e-3, steps: int = 500) -> Refit:
    """Refit the head on some of the images.

    Minimises sum_i c_i CE_i + pull / 2 * sum_kd (s_d dW_kd)^2 + pull / 2 * |db|^2 over the change of weights dW and
    biases db, where s_d is the root mean square of feature d, and c_i weighs the images so that each class counts as
    much as in all of ``features``. The problem is convex: L-BFGS in double precision finds the unique optimum.

    Args:
        features: Features of N images; their logits are those of the original head.
        rows: (M,), int64, the images to fit on.
        pull: Strength of the regularisation toward the original head; positive. At small values only the images matter.
        steps: Largest number of steps of the solver.

    Raises:
        InputError: There is no image, or a setting is out of range.
    """
    if not len(rows):
        raise InputError("no image to fit the head on")
    if not 0 < pull < float("inf"):
        raise InputError(f"pull must be positive and finite, got {pull}")
    if steps < 1:
        raise InputError(f"steps must be at least 1, got {steps}")
    phi, label, base = features.phi[rows].double(), features.label[rows], features.logits[rows].double()
    classes, width = base.shape[1], phi.shape[1]
    counts = [torch.bincount(part, minlength=classes).double() for part in (features.label, label)]
    weights = (counts[0] / counts[1].clamp_min(1))[label]
    weights = weights / weights.sum()
    scale = phi.square().mean(0).sqrt()
    scale = torch.where(scale > 0, scale, 1.0)
    scaled = phi / scale  # the unknowns are s_d dW_kd, equally scaled for the solver
    unknown = torch.zeros((classes, width + 1), dtype=torch.float64, requires_grad=True)

    def objective() -> Tensor:
        logits = base + scaled @ unknown[:, :width].T + unknown[:, width]
        loss = nn.functional.cross_entropy(logits, label, reduction="none")
        return (weights * loss).sum() + pull / 2 * unknown.square().sum()

    before, first = _slope(objective, unknown)
    solver = torch.optim.LBFGS(
        [unknown], max_iter=steps, max_eval=2 * steps, history_size=20, line_search_fn="strong_wolfe",
        tolerance_grad=1e-9, tolerance_change=1e-14,
    )  # fmt: skip

    def closure() -> float:
        solver.zero_grad()
        loss = objective()
        loss.backward()
        return float(loss.detach())

    with torch.inference_mode(False), torch.enable_grad():
        solver.step(closure)
    after, last = _slope(objective, unknown)
    found = unknown.detach()
    return Refit(
        weight=(found[:, :width] / scale).float(),
        bias=found[:, width].float(),
        images=len(rows),
        left_out=len(features) - len(rows),
        before=before,
        after=after,
        slope=last / first if first > 0 else 0.0,
    )


def _slope(objective: Any, unknown: Tensor) -> tuple[float, float]:
    """Compute the value and the norm of the gradient."""
    with torch.inference_mode(False), torch.enable_grad():
        value = objective()
        (grad,) = torch.autograd.grad(value, unknown)
    return float(value.detach()), float(grad.norm())


class RefittedModule(nn.Module):
    """A classifier with a refitted head; a forward pass costs one extra matrix product."""

    def __init__(self, model: nn.Module, output: str, last: LastLayer, head: Refit) -> None:
        super().__init__()
        self.model = model
        self.output = output
        self._last = last
        self.register_buffer("added", head.weight.to(last.weight.device))
        self.register_buffer("shift", head.bias.to(last.weight.device))

    def forward(self, x: Tensor) -> Tensor:
        with tapped(self._last) as tap:
            logits = read_scores(self.model(x), self.output, len(x))
        if tap.features is None:
            raise ModelError("the model did not pass through its last layer; it was found in another state")
        return logits + tap.features.float() @ self.get_buffer("added").T + self.get_buffer("shift")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RefittedRecipe:
    """Recipe to rebuild a classifier with a refitted head in another process."""

    recipe: Any
    head: Refit

    def build(self) -> Classifier:
        """Build the classifier."""
        return with_head(self.recipe.build(), self.head)


def with_head(classifier: Classifier, head: Refit) -> Classifier:
    """Build a classifier with a refitted head.

    The given classifier is not changed.

    Gradients pass through, and each image costs one pass, as before.

    Raises:
        InputError: The head has another width or number of classes.
        AccessError: The classifier grants no access to its layers.
        ModelError: It has no linear last layer.
    """
    if classifier.preprocess is None:
        raise InputError("another head needs the input size of the classifier: give it a preprocess")
    spec = classifier.preprocess
    last = find_last_layer(classifier, (spec.channels, spec.height, spec.width))
    if tuple(head.weight.shape) != (len(last.weight), last.width):
        raise InputError(
            f"a head of {head.weight.shape[0]} classes and {head.weight.shape[1]} features does not fit this "
            f"classifier of {len(last.weight)} classes and {last.width} features"
        )
    assert classifier.module is not None
    digest = hashlib.sha256(classifier.identity.encode())
    for part in (head.weight, head.bias):
        digest.update(part.contiguous().numpy().tobytes())
    return Classifier(
        RefittedModule(classifier.module, classifier.output, last, head),
        classes=classifier.classes,
        preprocess=spec,
        access=classifier.access,
        device=classifier.device,
        precision=classifier.precision,
        batch_size=classifier.batch_size,
        identity=digest.hexdigest(),
        recipe=RefittedRecipe(recipe=classifier.recipe, head=head) if classifier.recipe is not None else None,
    )
