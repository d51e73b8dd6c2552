"""From which value of alpha on a component counts as there: the level of other classes, and the bar of a carrier."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from whywrong.explain.spurious.neural_pca import ClassComponents

FREE, CARRIES, OWN = 0.95, 0.99, 0.75  # quantiles: of other classes, twice, and of the class itself


@dataclass(frozen=True, slots=True, eq=False)
class Levels:
    """How the components of one class stand in its own images and in those of other classes.

    Attributes:
        others: (L,), float64, logits, what 95 % of the images of other classes stay below: the level without the
            feature. The median would do as well against the feature, and takes more from images of the class that
            do not show it.
        bar: (L,), float64, logits; an image carries the component from here on. It is what the upper quarter of the
            class's own images reach or what 1 % of the other images reach, whichever is lower.
    """

    others: Tensor
    bar: Tensor


def find_levels(components: ClassComponents, own: Tensor, others: Tensor) -> Levels:
    """Levels of all components, from the images in which they were found and never from those that test them.

    Args:
        components: Neural PCA of one class.
        own: (N, D), features of images of the class.
        others: (M, D), features of images of other classes; without any, the mean of the class is the level.
    """
    alpha = components.alphas(own)
    bar = quantile(alpha, OWN)
    if not len(others):
        return Levels(torch.zeros_like(bar), bar)
    beside = components.alphas(others)
    return Levels(quantile(beside, FREE), torch.minimum(bar, quantile(beside, CARRIES)))


def quantile(values: Tensor, q: float) -> Tensor:
    """(L,), of each column of (N, L), between neighbours in proportion; torch.quantile refuses 16 million values."""
    ordered = values.sort(0).values
    at = q * (len(values) - 1)
    low = int(at)
    high = min(low + 1, len(values) - 1)
    return ordered[low] + (at - low) * (ordered[high] - ordered[low])
