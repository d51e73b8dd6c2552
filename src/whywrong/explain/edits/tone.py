"""Edits of brightness, contrast and colour."""

from __future__ import annotations

import torch
from torch import Tensor

from whywrong.data.corruptions.digital import saturate
from whywrong.explain.edits.edit import Apply, unkeyed
from whywrong.explain.edits.estimates import luma_of

_LOW, _HIGH = 0.01, 0.99  # quantiles of the luma that become black and white
_MEAN = 0.45
_GAMMAS = (1 / 3, 3.0)


def grey(x: Tensor) -> Tensor:
    """Remove the colour of images of 3 channels."""
    return luma_of(x).expand_as(x).contiguous() if x.shape[1] == 3 else x


def gamma(exponent: float) -> Apply:
    """Raise every value to a power."""
    return unkeyed(lambda x: x.pow(exponent))


def saturation(factor: float) -> Apply:
    """Multiply the saturation of images of 3 channels."""
    return unkeyed(lambda x: saturate(x, x, factor, 0.0).clamp(0, 1) if x.shape[1] == 3 else x)


def balanced(x: Tensor) -> Tensor:
    """Bring the mean luma to 0.45 by a power between 1/3 and 3."""
    mean = luma_of(x).mean((1, 2, 3)).clamp(1e-3, 1 - 1e-3)
    exponent = (torch.log(mean.new_tensor(_MEAN)) / mean.log()).clamp(*_GAMMAS)
    return x.pow(exponent.view(-1, 1, 1, 1))


def stretched(x: Tensor) -> Tensor:
    """Stretch the contrast of each image to the whole range.

    The 1 % and 99 % quantiles of the luma become black and white. An image of a single level is returned as it is.
    """
    luma = luma_of(x).flatten(1)
    low, high = (luma.kthvalue(1 + round(q * (luma.shape[1] - 1)), dim=1).values for q in (_LOW, _HIGH))
    spread = high - low
    low, scale = low.where(spread > 1e-3, 0.0), spread.where(spread > 1e-3, 1.0)
    return ((x - low.view(-1, 1, 1, 1)) / scale.view(-1, 1, 1, 1)).clamp(0, 1)
