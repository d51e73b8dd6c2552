"""Edits that a reader hardly sees: little noise, mild compression and fewer levels."""

from __future__ import annotations

import torch
from torch import Tensor

from whywrong.core.randomness import keyed_normal
from whywrong.data.corruptions.digital import jpeg_compression
from whywrong.explain.edits.edit import Apply

_LEVELS = 2**4 - 1


def noise(levels: float, draw: int) -> Apply:
    """Add normal noise with a standard deviation of ``levels`` grey levels of 255."""

    def apply(x: Tensor, keys: Tensor) -> Tensor:
        return (x + keyed_normal(keys, x.shape[1:], draw).to(x) * (levels / 255)).clamp(0, 1)

    return apply


def jpeg(quality: int) -> Apply:
    """Compress as JPEG and decode again.

    Images of other than 1 or 3 channels are compressed channel by channel.
    """

    def apply(x: Tensor, keys: Tensor) -> Tensor:
        pictures = x if x.shape[1] in (1, 3) else x.flatten(0, 1)[:, None]
        return jpeg_compression(pictures, keys, quality).view_as(x)

    return apply


def four_bits(x: Tensor) -> Tensor:
    """Round to 16 levels."""
    return torch.round(x * _LEVELS) / _LEVELS
