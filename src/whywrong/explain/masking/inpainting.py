"""Filling hidden pixels from the visible ones around them: push and pull through a pyramid of averages.

Pushing down, each level holds the mean of the known pixels of 2 x 2 blocks; pulling up, unknown pixels take the
interpolated value of the level below. No edge appears where a cell is hidden, and only visible pixels enter.
Source: Gortler et al. 1996, The Lumigraph, section 3.4.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def inpaint(x: Tensor, known: Tensor, fallback: Tensor) -> Tensor:
    """Fill unknown pixels of images.

    Known pixels stay as they are, bit for bit.

    Args:
        x: (Q, C, H, W), floating point.
        known: (Q, 1, H, W) bool.
        fallback: (Q, C, 1, 1), colour that fills an image without known pixels.

    Returns:
        (Q, C, H, W); filled pixels are averages of known ones, so within their range.
    """
    levels = [(x, known)]
    while max(levels[-1][0].shape[2:]) > 1:
        value, mask = levels[-1]
        weight = mask.to(x.dtype)
        total = F.avg_pool2d(value * weight, 2, ceil_mode=True, count_include_pad=False)
        share = F.avg_pool2d(weight, 2, ceil_mode=True, count_include_pad=False)
        found = share > 0
        levels.append((total / share.where(found, 1.0), found))
    value, mask = levels.pop()
    filled = torch.where(mask, value, fallback)
    for value, mask in reversed(levels):
        spread = F.interpolate(filled, size=value.shape[2:], mode="bilinear", align_corners=False)
        filled = torch.where(mask, value, spread)
    return filled
