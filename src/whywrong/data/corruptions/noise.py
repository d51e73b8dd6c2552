"""Noise corruptions (Gaussian, shot, impulse, speckle).

Source: Hendrycks and Dietterich 2019, arXiv 1903.12261, section 3. Every pixel and channel has its own random number.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from whywrong.core.randomness import keyed_normal, keyed_uniform


def gaussian_noise(x: Tensor, keys: Tensor, sigma: float) -> Tensor:
    """Add normal noise of standard deviation ``sigma``, as in low light."""
    return x + sigma * keyed_normal(keys, x.shape[1:])


def speckle_noise(x: Tensor, keys: Tensor, sigma: float) -> Tensor:
    """Add normal noise of standard deviation ``sigma`` times the pixel's value."""
    return x + sigma * x * keyed_normal(keys, x.shape[1:])


def impulse_noise(x: Tensor, keys: Tensor, amount: float) -> Tensor:
    """Set a share ``amount`` of the values to black or white (salt and pepper).

    Both have the same probability.
    """
    draw = keyed_uniform(keys, x.shape[1:])
    return x.masked_fill(draw < amount / 2, 0.0).masked_fill(draw > 1 - amount / 2, 1.0)


def shot_noise(x: Tensor, keys: Tensor, photons: float) -> Tensor:
    """Draw Poisson photon counts, with ``photons`` expected in a white pixel.

    The count is the exact inverse of the Poisson distribution at one keyed uniform number per value. An image has only
    256 grey levels, so all their distributions fit in one table, which is searched once for the whole batch.
    """
    table = _poisson_table(photons).to(x.device)
    length = len(table) // 256
    level = torch.round(x * 255).double()
    draw = keyed_uniform(keys, x.shape[1:]).double()
    count = torch.searchsorted(table, (level + draw).contiguous()) - level.long() * length
    return count.to(x.dtype) / photons


@lru_cache(maxsize=16)
def _poisson_table(photons: float) -> Tensor:
    """Build an increasing table (256 K) float64 of level + P(count <= k), for counts k in 0..K-1 of each level."""
    length = int(photons + 12 * math.sqrt(photons) + 30)  # the rest is less likely than one step of the draw
    count = torch.arange(length, dtype=torch.float64)
    level = torch.arange(256, dtype=torch.float64)[:, None]
    mean = level / 255 * photons
    probability = torch.exp(torch.xlogy(count, mean) - mean - torch.lgamma(count + 1))
    cumulative = probability.cumsum(1).clamp(max=1.0)
    cumulative[:, -1] = 1.0
    return (level + cumulative).flatten()
