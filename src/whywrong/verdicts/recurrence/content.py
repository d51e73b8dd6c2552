"""Fine content of images, in which a mark stands out from its surroundings."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from whywrong.data.corruptions.filters import gaussian_filter

LARGEST = 48  # pixels; larger images are reduced
_SIGMA = 1 / 32  # of the side; wider filters keep shading, which is alike in many photographs of one class


def fine_content(x: Tensor) -> Tensor:
    """Return the high-pass content of images at no more than 48 x 48 pixels.

    It is the difference from a Gaussian blur with a standard deviation of 1/32 of the side. Images that are not square
    are reduced to a square. (ours)

    Args:
        x: (B, C, H, W) float32 in [0, 1]. A single channel is used three times, and of more than three the first three.

    Returns:
        (B, 3, E, E) float16 with E = min(48, H, W).
    """
    x = x.expand(-1, 3, -1, -1) if x.shape[1] == 1 else x[:, :3]
    side = min(LARGEST, *x.shape[2:])
    if tuple(x.shape[2:]) != (side, side):
        x = F.interpolate(x, (side, side), mode="bilinear", antialias=True, align_corners=False)
    return (x - gaussian_filter(x, side * _SIGMA)).to(torch.float16)
