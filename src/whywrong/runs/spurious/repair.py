"""What SpuFix does on held-out images, with the components that a person called spurious."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from whywrong.core.statistics import Interval, bootstrap, wilson
from whywrong.explain.spurious.features import Features
from whywrong.explain.spurious.harmful import taken_away
from whywrong.explain.spurious.scores import average_precision, roc_area
from whywrong.explain.spurious.spufix import Fix, Start, fixed_logits, fixes_of
from whywrong.runs.spurious.search import Search


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
class Repair:
    """Before and after SpuFix.

    Attributes:
        start: From where the components counted.
        components: Components taken away.
        images: Held-out images.
        before, after: Accuracy on them, with Wilson intervals.
        change: after - before, mean over images with its bootstrap interval.
        own_before, own_after: Accuracy on the images of the classes that were repaired.
        scores: Of each component.
        carriers, read_as, read_as_after: Images of other classes that carry at least one of the components, and those
            among them that are read as its class, before and after.
    """

    start: Start
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

    def mean(self, name: str) -> float:
        """Mean of ``ap``, ``auc``, ``ap_after`` or ``auc_after`` over the components that have it; NaN without any."""
        values = np.array([getattr(score, name) for score in self.scores], dtype=float)
        return float(values[~np.isnan(values)].mean()) if (~np.isnan(values)).any() else float("nan")

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        means = {name: self.mean(name) for name in ("ap", "ap_after", "auc", "auc_after")}
        return asdict(self) | {"spurious_score": means}


def repair_of(search: Search, spurious: Mapping[int, Sequence[int]], start: Start) -> Repair:
    """Measure the fix of some components on the held-out images.

    Args:
        search: A finished search.
        spurious: Class index to the numbers of its spurious components, from 0; at least one.
        start: From where the components count.
    """
    features = search.held_out.features
    logits = fixed_logits(features.logits, features.phi, fixes_for(search, spurious, start))
    fixed = Features(features.phi, logits, features.label)
    before, after = features.predicted == features.label, fixed.predicted == features.label
    own = torch.isin(features.label, torch.tensor(sorted(spurious)))
    carries = torch.zeros(len(features), dtype=torch.bool)
    read_as, read_as_after = carries.clone(), carries.clone()
    scores = []
    for index, numbers in sorted(spurious.items()):
        alpha = search.classes[index].components.alphas(features.phi64)[:, list(numbers)]
        carry = (alpha >= search.classes[index].levels.bar[list(numbers)]) & (features.label != index)[:, None]
        chances, read = (features.chance(index), fixed.chance(index)), (features.predicted, fixed.predicted)
        scores += [
            _score(index, number, features.label == index, carry[:, column], chances, read)
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
        change=bootstrap((after.double() - before.double()).numpy()),
        own_before=_share(before[own]),
        own_after=_share(after[own]),
        scores=scores,
        carriers=int(carries.sum()),
        read_as=int(read_as.sum()),
        read_as_after=int(read_as_after.sum()),
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


def _share(hits: Tensor) -> Interval:
    return wilson(int(hits.sum()), len(hits))
