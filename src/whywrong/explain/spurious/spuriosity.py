"""Spuriosity ranking, which tests whether correct predictions of a class depend on a component.

Source: Moayeri et al. 2023, "Spuriosity Rankings", arXiv 2212.02648 (abstract level): images of a class are ranked by
how strongly they show a feature; bias = accuracy on the highest - accuracy on the lowest. Here the feature is a
component of neural PCA, and the ranking uses images that were not used to find it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from whywrong.core.errors import InputError
from whywrong.core.statistics import Interval, wilson


@dataclass(frozen=True, slots=True, eq=False)
class Spuriosity:
    """Accuracy on the images of one class that show a component most and least.

    Attributes:
        order: (N,), int64, rows from the strongest to the weakest.
        each: Number of images in each of the two ends.
        high, low: Accuracy on the strongest and on the weakest ``each``, with Wilson intervals.
        bias: high - low, with its 95 % interval (Newcombe's hybrid score); NaN without images.
    """

    order: Tensor
    each: int
    high: Interval
    low: Interval
    bias: Interval


def spuriosity(alpha: Tensor, right: Tensor, *, share: float = 0.25) -> Spuriosity:
    """Rank the images of one class by a component and compare the ends.

    Args:
        alpha: (N,), strength of the component.
        right: (N,), bool, whether the image is predicted as the class.
        share: Share of the images in each end, in (0, 0.5].

    Raises:
        InputError: Shapes differ, or the share is out of range.
    """
    if alpha.shape != right.shape or alpha.ndim != 1:
        raise InputError(f"alpha and right must both be (N,), got {tuple(alpha.shape)} and {tuple(right.shape)}")
    if not 0 < share <= 0.5:
        raise InputError(f"share must be in (0, 0.5], got {share}")
    order = torch.argsort(alpha, descending=True, stable=True)
    each = max(1, int(share * len(alpha))) if len(alpha) > 1 else 0
    high = wilson(int(right[order[:each]].sum()), each)
    low = wilson(int(right[order[len(order) - each :]].sum()), each)
    return Spuriosity(order, each, high, low, _difference(high, low))


def _difference(a: Interval, b: Interval) -> Interval:
    """Compute a - b of two independent shares with its interval.

    Source: Newcombe 1998, method 10.
    """
    value = a.value - b.value
    down = ((a.value - a.low) ** 2 + (b.high - b.value) ** 2) ** 0.5
    up = ((a.high - a.value) ** 2 + (b.value - b.low) ** 2) ** 0.5
    return Interval(value, value - down, value + up)
