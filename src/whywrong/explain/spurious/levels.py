"""Levels of alpha, that of other classes and the threshold of a carrier."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from whywrong.explain.spurious.neural_pca import ClassComponents

FREE, CARRIES, OWN = 0.95, 0.99, 0.75  # quantiles: of other classes, twice, and of the class itself
_OUTLIER = 5 * 1.4826  # median absolute deviations; of a normal distribution, five standard deviations


@dataclass(frozen=True, slots=True, eq=False)
class Levels:
    """Levels of the components of one class in its own and in other images.

    Images of other classes may carry the feature too, so those more than five robust standard deviations above the
    median are excluded from both quantiles of other classes.

    Attributes:
        others: (L,), float64, logits, 95th percentile of the images of other classes: the level without the feature.
            The median would remove the feature as well, but would take more from images of the class that do not show
            it.
        bar: (L,), float64, logits; an image at or above this threshold carries the component. It is the level reached
            by the upper quarter of the class's own images or by 1 % of the other images, whichever is lower.
    """

    others: Tensor
    bar: Tensor


def find_levels(components: ClassComponents, own: Tensor, others: Tensor) -> Levels:
    """Compute the levels of all components from the images in which they were found.

    Never use the images that test the components.

    Args:
        components: Neural PCA of one class.
        own: (N, D), features of images of the class.
        others: (M, D), features of images of other classes; if empty, the mean of the class is the level.
    """
    return levels_of(components.alphas(own), components.alphas(others))


def levels_of(own: Tensor, others: Tensor) -> Levels:
    """Compute levels from alpha, (N, L) of the class and (M, L) of other classes."""
    bar = quantile(own, OWN)
    if not len(others):
        return Levels(torch.zeros_like(bar), bar)
    beside = without_outliers(others)
    return Levels(quantile(beside, FREE), torch.minimum(bar, quantile(beside, CARRIES)))


def without_outliers(values: Tensor) -> Tensor:
    """Replace values far above the median of their column by NaN.

    Takes and returns (N, L).
    """
    middle = quantile(values, 0.5)
    width = quantile((values - middle).abs(), 0.5)
    far = (values > middle + _OUTLIER * width) & (width > 0)
    return values.masked_fill(far, torch.nan)


def quantile(values: Tensor, q: float) -> Tensor:
    """Compute a quantile (L,) of each column of (N, L), ignoring NaN.

    Values are interpolated linearly. torch.quantile refuses more than 16 million values.
    """
    ordered = values.sort(0).values  # NaN sorts last
    at = q * ((~values.isnan()).sum(0) - 1).double()  # (L,)
    low = at.long()
    high = torch.minimum(low + 1, (~values.isnan()).sum(0) - 1)
    below, above = (ordered.gather(0, rows[None])[0] for rows in (low, high))
    return below + (at - low) * (above - below)
