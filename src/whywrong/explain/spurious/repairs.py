"""Effect of SpuFix and of a refitted head on held-out images, for components labelled spurious."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from whywrong.core.errors import ModelError
from whywrong.core.statistics import Interval, mean, wilson
from whywrong.explain.spurious.features import Features
from whywrong.explain.spurious.harmful import taken_away
from whywrong.explain.spurious.refit import SOLVED, Refit, low_spuriosity, refit_head
from whywrong.explain.spurious.scores import average_precision, roc_area
from whywrong.explain.spurious.search import Search
from whywrong.explain.spurious.spufix import Fix, Start, fixed_logits, fixes_of
from whywrong.explain.spurious.spuriosity import spuriosity


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """How well p(k|x) separates images of class k from carriers of one of its components.

    The carriers are images of other classes.

    Attributes:
        index: Class k.
        number: The component, from 0.
        own: Number of images of the class.
        carriers: Number of images of other classes.
        ap, auc: Area under the precision-recall curve, as in the published code, and under the ROC curve, before the
            fix.
        ap_after, auc_after: The same after the fix.
        read_as, read_as_after: Number of carriers predicted as the class.
    """

    index: int
    number: int
    own: int
    carriers: int
    ap: float
    auc: float
    ap_after: float
    auc_after: float
    read_as: int
    read_as_after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BiasChange:
    """Bias of one component before and after a repair.

    The bias is the accuracy of the class on images that show it most minus that on images that show it least.

    Attributes:
        index: Class k.
        number: The component, from 0.
        before, after: Biases with their intervals, on held-out images of the class.
    """

    index: int
    number: int
    before: Interval
    after: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """Effect of a repair on held-out images.

    Attributes:
        start: Start of SpuFix, or ``refit`` for the refitted last layer.
        components: Number of components removed.
        images: Number of held-out images.
        before, after: Accuracy on the held-out images, with Wilson intervals.
        change: after - before, mean over images with its interval.
        own_before, own_after: Accuracy on the images of the repaired classes.
        scores: Score of each component.
        carriers, read_as, read_as_after: Images of other classes that carry at least one of the components, and those
            of them predicted as its class, before and after.
        biases: Bias of each component.
        note: Description of how it was made, if needed.
    """

    start: Start | Literal["refit"]
    components: int
    images: int
    before: Interval
    after: Interval
    change: Interval
    own_before: Interval
    own_after: Interval
    scores: Sequence[Score]
    carriers: int
    read_as: int
    read_as_after: int
    biases: Sequence[BiasChange] = ()
    note: str = ""

    def mean(self, name: str) -> float:
        """Compute the mean of ``ap``, ``auc``, ``ap_after`` or ``auc_after``.

        It runs over the components that have the value; NaN without any.
        """
        values = np.array([getattr(score, name) for score in self.scores], dtype=float)
        return _known_mean(values)

    def mean_bias(self, side: str) -> float:
        """Compute the mean of the bias ``before`` or ``after``.

        It runs over the components that have one; NaN without any.
        """
        return _known_mean(np.array([getattr(one, side).value for one in self.biases], dtype=float))

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values."""
        means = {name: self.mean(name) for name in ("ap", "ap_after", "auc", "auc_after")}
        bias = {side: self.mean_bias(side) for side in ("before", "after")}
        return asdict(self) | {"spurious_score": means, "bias": bias}


def repair_of(search: Search, spurious: Mapping[int, Sequence[int]], start: Start) -> Repair:
    """Measure the fix of some components on the held-out images.

    Args:
        search: A finished search.
        spurious: Numbers of the spurious components, from 0, by class index; at least one.
        start: Level from which the components are removed.
    """
    features = search.held_out.features
    return _measure(
        search, spurious, start, fixed_logits(features.logits, features.phi, fixes_for(search, spurious, start))
    )


def refit_of(search: Search, spurious: Mapping[int, Sequence[int]]) -> tuple[Repair, Refit]:
    """Refit the last layer and measure it on the held-out images.

    The fit uses the images in which the components were found, those that show least of them.

    Args:
        search: A finished search; its config sets how many images are kept, and the strength of the regularisation.
        spurious: Numbers of the spurious components, from 0, by class index; at least one.

    Raises:
        ModelError: The fit did not reach its optimum.
    """
    config, images = search.config, search.search.features
    components = {index: search.classes[index].components for index in spurious}
    head = refit_head(images, low_spuriosity(images, components, spurious, config.refit_share), pull=config.refit_pull)
    if not head.solved:
        raise ModelError(
            f"the refit of the head did not reach its optimum (slope {head.slope:.2g} of that at the start, at most "
            f"{SOLVED:g} is allowed); raise --set refit_pull"
        )
    features = search.held_out.features
    note = (
        f"Fitted on {head.images:,} images, {head.left_out:,} that show most of the components left out; the gradient "
        f"of the fit fell to {head.slope:.1g} of its start."
    )
    return _measure(search, spurious, "refit", features.logits + head(features.phi), note), head


def _measure(
    search: Search,
    spurious: Mapping[int, Sequence[int]],
    start: Start | Literal["refit"],
    logits: Tensor,
    note: str = "",
) -> Repair:
    """Compare held-out images before and after a repair.

    ``logits`` (N, K) are those after the repair.
    """
    features = search.held_out.features
    fixed = Features(features.phi, logits, features.label)
    before, after = features.predicted == features.label, fixed.predicted == features.label
    own = torch.isin(features.label, torch.tensor(sorted(spurious)))
    carries = torch.zeros(len(features), dtype=torch.bool)
    read_as, read_as_after = carries.clone(), carries.clone()
    scores: list[Score] = []
    biases: list[BiasChange] = []
    for index, numbers in sorted(spurious.items()):
        alpha = search.classes[index].components.alphas(features.phi64)[:, list(numbers)]
        carry = (alpha >= search.classes[index].levels.bar[list(numbers)]) & (features.label != index)[:, None]
        chances, read = (features.chance(index), fixed.chance(index)), (features.predicted, fixed.predicted)
        scores += [
            _score(index, number, features.label == index, carry[:, column], chances, read)
            for column, number in enumerate(numbers)
        ]
        rows = (features.label == index).nonzero().flatten()
        biases += [
            _bias(index, number, alpha[rows, column], before[rows], after[rows], search.config.ends)
            for column, number in enumerate(numbers)
        ]
        anywhere = carry.any(1)
        carries |= anywhere
        read_as |= anywhere & (features.predicted == index)
        read_as_after |= anywhere & (fixed.predicted == index)
    return Repair(
        start=start,
        components=len(scores),
        images=len(features),
        before=_share(before),
        after=_share(after),
        change=mean((after.double() - before.double()).numpy(), bounds=(-1.0, 1.0)),
        own_before=_share(before[own]),
        own_after=_share(after[own]),
        scores=scores,
        carriers=int(carries.sum()),
        read_as=int(read_as.sum()),
        read_as_after=int(read_as_after.sum()),
        biases=biases,
        note=note,
    )


def fixes_for(search: Search, spurious: Mapping[int, Sequence[int]], start: Start) -> list[Fix]:
    """Build one fix for each class of ``spurious``."""
    return fixes_of(
        {index: search.classes[index].components for index in spurious},
        {index: search.classes[index].levels for index in spurious},
        spurious,
        start,
    )


def scores_alone(search: Search) -> dict[tuple[int, int], Score]:
    """Compute the spurious score of each component before and after its own fix.

    Returns scores by class and number.
    """
    features = search.held_out.features
    found = {}
    for index, one in search.classes.items():
        alpha = one.components.alphas(features.phi64)
        before, own = features.chance(index), features.label == index
        for number in range(len(one.components)):
            less = taken_away(alpha[:, number], one.levels, number, search.config.start)
            carry = ~own & (alpha[:, number] >= one.levels.bar[number])
            chances = before, features.chance(index, less)
            read = features.predicted, features.without(index, less)
            found[index, number] = _score(index, number, own, carry, chances, read)
    return found


def _score(
    index: int,
    number: int,
    own: Tensor,
    carry: Tensor,
    chances: tuple[Tensor, Tensor],
    read: tuple[Tensor, Tensor],
) -> Score:
    (yes, no), (yes_after, no_after) = ((chance[own].numpy(), chance[carry].numpy()) for chance in chances)
    return Score(
        index=index,
        number=number,
        own=len(yes),
        carriers=len(no),
        ap=average_precision(yes, no),
        auc=roc_area(yes, no),
        ap_after=average_precision(yes_after, no_after),
        auc_after=roc_area(yes_after, no_after),
        read_as=int((carry & (read[0] == index)).sum()),
        read_as_after=int((carry & (read[1] == index)).sum()),
    )


def _bias(index: int, number: int, alpha: Tensor, before: Tensor, after: Tensor, ends: float) -> BiasChange:
    sides = (spuriosity(alpha, right, share=ends).bias for right in (before, after))
    return BiasChange(index=index, number=number, **dict(zip(("before", "after"), sides, strict=True)))


def _known_mean(values: np.ndarray) -> float:
    return float(values[~np.isnan(values)].mean()) if (~np.isnan(values)).any() else float("nan")


def _share(hits: Tensor) -> Interval:
    return wilson(int(hits.sum()), len(hits))
