"""SpuFix, which removes the contribution of components to a class without retraining.

Source: Neuhaus et al. 2023, arXiv 2212.04871, as in its published code. Published form: f_k <- f_k - sum_l
max(alpha_l, 0), where alpha_l = 0 is the mean of the class. If nearly every image of the class carries a feature, the
mean includes it, so an image of another class with the feature has alpha_l below 0 and keeps all of it. The default
here starts from the level of other classes instead, f_k <- f_k - sum_l max(alpha_l - level_l, 0); ``start="class"`` is
the published form.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from whywrong.core.errors import InputError, ModelError
from whywrong.explain.spurious.levels import FREE, Levels, quantile, without_outliers
from whywrong.explain.spurious.neural_pca import ClassComponents
from whywrong.models.answers import read_scores
from whywrong.models.classifier import Classifier
from whywrong.models.layers.last_layer import LastLayer, find_last_layer, tapped

Start = Literal["others", "class"]


@dataclass(frozen=True, slots=True, eq=False)
class Fix:
    """Correction of the logit of one class.

    It subtracts the positive part of each row of ``(phi - centre) @ taken^T``.

    Attributes:
        index: Class k.
        taken: (L, D), float32: <1, v_l> v_l * w_k.
        offset: (L,), float32, logits, subtracted before the positive part.
    """

    index: int
    taken: Tensor
    offset: Tensor

    def __call__(self, phi: Tensor) -> Tensor:
        """Compute the logits (B,) to subtract, for features (B, D)."""
        return (phi @ self.taken.T - self.offset).clamp_min(0).sum(1)


def make_fix(
    components: ClassComponents, chosen: Sequence[int], levels: Levels | None = None, start: Start = "others"
) -> Fix:
    """Build the fix for some components of one class.

    Args:
        components: Neural PCA of the class.
        chosen: Numbers of the components that are spurious, from 0.
        levels: Levels of these components; required for ``start="others"``.
        start: Level from which a component is removed: ``others``, the level of other classes, or ``class``, the mean
            of the class itself, as published.

    Raises:
        InputError: A component does not exist, or levels are missing.
    """
    wrong = [number for number in chosen if not 0 <= number < len(components)]
    if wrong:
        raise InputError(f"class {components.index} has components 0..{len(components) - 1}, got {wrong[0]}")
    if start not in ("others", "class"):
        raise InputError(f'start must be "others" or "class", got {start!r}')
    rows = torch.tensor(sorted(set(chosen)), dtype=torch.int64)
    directions, pulls = components.directions[rows], components.pulls[rows]
    offset = (directions @ components.mean) * pulls
    if start == "others":
        if levels is None:
            raise InputError('start="others" needs the levels of the components')
        offset = offset + levels.others[rows]
    return Fix(components.index, (directions * components.weight * pulls[:, None]).float(), offset.float())


def matched_fix(
    fixed: ClassComponents,
    chosen: Sequence[int],
    reference: Tensor,
    phi: Tensor,
    weight: Tensor,
    index: int,
    *,
    others: Tensor | None = None,
    start: Start = "others",
) -> Fix:
    """Transfer the fix of one model to another.

    The fix uses the directions in the other model that vary with the components in this one.

    For each component, ``v`` is the unit vector of largest covariance between psi of the other model and alpha of this
    one; several are combined in their common span, by least squares.

    Args:
        fixed: Neural PCA of the class in the model where the components were judged.
        chosen: Numbers of the components.
        reference: (N, D), features of images of the class in that model.
        phi: (N, D2), features of the same images in the other model, in the same order.
        weight: (D2,), row of the other model's last layer.
        index: Index of the class in the other model.
        others: (M, D2), features of images of other classes in the other model; required for ``start="others"``.
        start: As for :func:`make_fix`.

    Raises:
        InputError: The numbers of images differ, or a component varies with nothing in the other model.
    """
    if len(reference) != len(phi):
        raise InputError(f"the models saw {len(reference)} and {len(phi)} images; matching needs the same ones")
    alpha = fixed.alphas(reference)[:, list(chosen)]  # (N, L)
    weight = weight.double()
    psi = phi.double() * weight
    mean = psi.mean(0)
    directions = (alpha - alpha.mean(0)).T @ (psi - mean)  # (L, D2)
    norms = directions.norm(dim=1, keepdim=True)
    if bool((norms <= 1e-12 * psi.norm() * alpha.norm(dim=0)[:, None]).any()):
        raise InputError("a component does not vary together with any feature of the other model")
    directions = directions / norms
    # Coordinates of psi - mean in the span of the directions: each explains only what the others do not.
    dual = torch.linalg.pinv(directions).T  # (L, D2); <dual_i, v_j> = 1 if i = j, else 0
    pulls = directions.sum(1)
    offset = (dual @ mean) * pulls
    if start == "others":
        if others is None or not len(others):
            raise InputError('start="others" needs features of images of other classes')
        beside = ((others.double() * weight - mean) @ dual.T) * pulls
        offset = offset + quantile(without_outliers(beside), FREE)
    return Fix(index, (dual * weight * pulls[:, None]).float(), offset.float())


def fixed_logits(logits: Tensor, phi: Tensor, fixes: Sequence[Fix]) -> Tensor:
    """Apply all fixes to the logits (B, K), given features (B, D).

    The given logits are not changed.
    """
    logits = logits.clone()
    for fix in fixes:
        logits[:, fix.index] -= fix(phi).to(logits.dtype)
    return logits


class RepairedModule(nn.Module):
    """A classifier followed by fixes; a forward pass costs one extra small product."""

    def __init__(self, model: nn.Module, output: str, last: LastLayer, fixes: Sequence[Fix]) -> None:
        super().__init__()
        self.model = model
        self.output = output
        self._last = last
        for number, fix in enumerate(fixes):
            self.register_buffer(f"taken{number}", fix.taken.to(last.weight.device))
            self.register_buffer(f"offset{number}", fix.offset.to(last.weight.device))
        self._indices = tuple(fix.index for fix in fixes)

    def forward(self, x: Tensor) -> Tensor:
        with tapped(self._last) as tap:
            logits = read_scores(self.model(x), self.output, len(x))
        if tap.features is None:
            raise ModelError("the model did not pass through its last layer; it was found in another state")
        phi = tap.features.float()
        less = torch.zeros_like(logits)
        for number, index in enumerate(self._indices):
            taken, offset = self.get_buffer(f"taken{number}"), self.get_buffer(f"offset{number}")
            less[:, index] = less[:, index] + (phi @ taken.T - offset).clamp_min(0).sum(1)
        return logits - less


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RepairedRecipe:
    """Recipe to rebuild a repaired classifier in another process.

    Attributes:
        recipe: Recipe of the original classifier.
        fixes: The fixes applied to it.
    """

    recipe: Any
    fixes: tuple[Fix, ...]

    def build(self) -> Classifier:
        """Build the repaired classifier."""
        return repair(self.recipe.build(), self.fixes)


def repair(classifier: Classifier, fixes: Sequence[Fix]) -> Classifier:
    """Build a classifier with the components of ``fixes`` removed.

    The given classifier is not changed.

    Gradients pass through the fix, and each image costs one pass, as before.

    Args:
        classifier: Must grant access to its layers.
        fixes: At most one per class.

    Raises:
        InputError: There is no fix, a class has two, or a fix has another width or number of classes.
        AccessError: The classifier grants no access to its layers.
        ModelError: It has no linear last layer.
    """
    _check_unique(fixes)
    if classifier.preprocess is None:
        raise InputError("repair needs the input size of the classifier: give it a preprocess")
    spec = classifier.preprocess
    last = find_last_layer(classifier, (spec.channels, spec.height, spec.width))
    for fix in fixes:
        if not 0 <= fix.index < len(last.weight) or fix.taken.shape[1] != last.width:
            raise InputError(
                f"a fix for class {fix.index} and {fix.taken.shape[1]} features does not fit this classifier of "
                f"{len(last.weight)} classes and {last.width} features"
            )
    assert classifier.module is not None
    module = RepairedModule(classifier.module, classifier.output, last, fixes)
    return Classifier(
        module,
        classes=classifier.classes,
        preprocess=spec,
        access=classifier.access,
        device=classifier.device,
        precision=classifier.precision,
        batch_size=classifier.batch_size,
        identity=_identity(classifier.identity, fixes),
        recipe=RepairedRecipe(recipe=classifier.recipe, fixes=tuple(fixes)) if classifier.recipe is not None else None,
    )


def fixes_of(
    components: Mapping[int, ClassComponents],
    levels: Mapping[int, Levels],
    spurious: Mapping[int, Sequence[int]],
    start: Start = "others",
) -> list[Fix]:
    """Build one fix for each class of ``spurious``.

    ``spurious`` lists the components of each class by number.
    """
    return [
        make_fix(components[index], chosen, levels[index], start)
        for index, chosen in sorted(spurious.items())
        if len(chosen)
    ]


def _check_unique(fixes: Sequence[Fix]) -> None:
    indices = [fix.index for fix in fixes]
    if not indices:
        raise InputError("nothing to repair: no component is named spurious")
    if len(set(indices)) < len(indices):
        raise InputError("two fixes for one class; join their components in one")


def _identity(inner: str, fixes: Sequence[Fix]) -> str:
    digest = hashlib.sha256(inner.encode())
    for fix in fixes:
        digest.update(str(fix.index).encode())
        for part in (fix.taken, fix.offset):
            digest.update(part.contiguous().numpy().tobytes())
    return digest.hexdigest()
