"""What SpuFix and a refitted head do on held-out images, with the components that a person called spurious."""

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
    """How well p(k|x) tells images of class k from images of other classes that carry one of its components.

    Attributes:
        index: Class k.
        number: The component, from 0.
        own: Images of the class.
        carriers: Images of other classes.
        ap, auc: Area under precision-recall, as in the published code, and under ROC; before the fix.
        ap_after, auc_after: After it.
        read_as, read_as_after: Carriers read as the class.
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
    """Bias of one component, accuracy of its class where it shows most minus where it shows least, and after a repair.

    Attributes:
        index: Class k.
        number: The component, from 0.
        before, after: With their intervals, on held-out images of the class.
    """

    index: int
    number: int
    before: Interval
    after: Interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Repair:
    """Before and after a repair.

    Attributes:
        start: Of SpuFix, from where the components counted; ``refit`` is the last layer fitted again.
        components: Components taken away.
        images: Held-out images.
        before, after: Accuracy on them, with Wilson intervals.
        change: after - before, mean over images with its interval.
        own_before, own_after: Accuracy on the images of the classes that were repaired.
        scores: Of each component.
        carriers, read_as, read_as_after: Images of other classes that carry at least one of the components, and those
            among them that are read as its class, before and after.
        biases: Of each component.
        note: How it was made, in words, where there is something to say.
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
        """Mean of ``ap``, ``auc``, ``ap_after`` or ``auc_after`` over the components that have it; NaN without any."""
        values = np.array([getattr(score, name) for score in self.scores], dtype=float)
        return _known_mean(values)

    def mean_bias(self, side: str) -> float:
        """Mean of the bias ``before`` or ``after`` over the components that have one; NaN without any."""
        return _known_mean(np.array([getattr(one, side).value for one in self.biases], dtype=float))

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        means = {name: self.mean(name) for name in ("ap", "ap_after", "auc", "auc_after")}
        bias = {side: self.mean_bias(side) for side in ("before", "after")}
        return asdict(self) | {"spurious_score": means, "bias": bias}


def repair_of(search: Search, spurious: Mapping[int, Sequence[int]], start: Start) -> Repair:
    """Measure the fix of some components on the held-out images.

    Args:
        search: A finished search.
        spurious: Class index to the numbers of its spurious components, from 0; at least one.
        start: From where the components count.
    """
    features = search.held_out.features
    return _measure(
        search, spurious, start, fixed_logits(features.logits, features.phi, fixes_for(search, spurious, start))
    )


def refit_of(search: Search, spurious: Mapping[int, Sequence[int]]) -> tuple[Repair, Refit]:
    """Fit the last layer again on the images in which the components were found, those that show least of them, and
    measure it on the held-out ones.

    Args:
        search: A finished search; its config says how many images are kept, and how strongly the head is held.
        spurious: Class index to the numbers of its spurious components, from 0; at least one.

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
    """Before and after on the held-out images, whose logits (N, K) the repair changed into ``logits``."""
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
    """One fix for each class of ``spurious``."""
    return fixes_of(
        {index: search.classes[index].components for index in spurious},
        {index: search.classes[index].levels for index in spurious},
        spurious,
        start,
    )


def scores_alone(search: Search) -> dict[tuple[int, int], Score]:
    """Class and number to the spurious score of each component, before and after a fix of that one alone."""
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
