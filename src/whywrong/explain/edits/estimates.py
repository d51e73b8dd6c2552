"""Estimates of the noise and of the blur of images, from their pixels alone.

Source: Immerkaer 1996, "Fast noise variance estimation" (the Laplacian difference mask); Zhuo and Sim 2011, "Defocus
map estimation from a single image" (the ratio of gradients before and after a known blur).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from whywrong.data.corruptions.filters import gaussian_filter, grey

_EXPECTED = 6 * math.sqrt(2 / math.pi)  # mean absolute answer of the mask to noise of standard deviation 1
_BLOCK = 4  # pixels a side of the blocks of which the quietest count
_QUIET = 0.2  # share of the blocks that count as quiet
_REBLUR = 1.0  # pixels, standard deviation of the known blur
_EDGES = 0.02  # share of the differences that count as edges
WIDEST = 3.0  # pixels, largest blur that is told apart


def luma_of(x: Tensor) -> Tensor:
    """Compute the luma of grey and colour images, and the mean channel of others.

    Returns (B, 1, H, W).
    """
    return grey(x) if x.shape[1] in (1, 3) else x.mean(1, keepdim=True)


def noise_mask(luma: Tensor) -> Tensor:
    """Filter with Immerkaer's mask, to which edges and slopes add little.

    Returns (B, 1, H - 2, W - 2); white noise of standard deviation s gives values of standard deviation 6 s.
    """
    across = luma[..., :-2] - 2 * luma[..., 1:-1] + luma[..., 2:]
    return across[..., :-2, :] - 2 * across[..., 1:-1, :] + across[..., 2:, :]


def mean_noise(luma: Tensor) -> Tensor:
    """Estimate the noise from the mean absolute answer of the mask.

    Returns (B,), in units of the pixel range.
    """
    return noise_mask(luma).abs().mean((1, 2, 3)) / _EXPECTED


def quiet_noise(luma: Tensor) -> Tensor:
    """Estimate the noise from the quietest fifth of blocks of 4 x 4 pixels.

    Texture raises the estimate only if no part of the image is smooth. Returns (B,), in units of the pixel range; 0 for
    images of less than 6 pixels a side.
    """
    if min(luma.shape[2:]) < _BLOCK + 2:
        return luma.new_zeros(len(luma))
    blocks = F.avg_pool2d(noise_mask(luma).abs(), _BLOCK).flatten(1) / _EXPECTED
    count = max(1, round(_QUIET * blocks.shape[1]))
    return blocks.topk(count, dim=1, largest=False).values.mean(1) * _selection(blocks.shape[1])


def _selection(blocks: int) -> float:
    """Correct for choosing the lowest blocks of pure noise, whose mean lies below that of all blocks.

    A block's mean has a relative deviation of 0.26 on white noise; the mean of the lowest fifth of normal values lies
    1.4 deviations below the mean.
    """
    return 1 / (1 - 1.4 * 0.26) if blocks >= 1 / _QUIET else 1.0


def blur_width(x: Tensor) -> Tensor:
    """Estimate the standard deviation of the blur at the strongest edges.

    Returns (B,), in pixels.

    The image is blurred once more by 1 pixel. At an edge blurred by s, the gradient falls by the factor
    ``sqrt((s^2 + 1) / s^2)``. The difference of two pixels is itself a blur of variance 1/12, which is subtracted. An
    image without edges gets the largest value, 3.
    """
    luma = luma_of(x)
    before, after = _differences(luma), _differences(gaussian_filter(luma, _REBLUR))
    count = max(1, round(_EDGES * before.shape[1]))
    strong = before.topk(count, dim=1)
    ratio = strong.values.mean(1) / after.gather(1, strong.indices).mean(1).clamp(min=1e-6)
    variance = _REBLUR**2 / (ratio.square() - 1).clamp(min=_REBLUR**2 / (WIDEST**2 + 1 / 12)) - 1 / 12
    return variance.clamp(min=0).sqrt().where(strong.values[:, 0] > 1e-3, WIDEST)


def _differences(luma: Tensor) -> Tensor:
    """Return the absolute differences of neighbours in both directions, (B, n)."""
    across, down = luma[..., 1:] - luma[..., :-1], luma[..., 1:, :] - luma[..., :-1, :]
    return torch.cat([across.flatten(1), down.flatten(1)], 1).abs()
