"""Blur corruptions (Gaussian, defocus, frosted glass, motion, zoom).

Source: Hendrycks and Dietterich 2019, arXiv 1903.12261, section 3.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from whywrong.core.randomness import keyed_uniform
from whywrong.data.corruptions.filters import clipped_zoom, cut_to_levels, gaussian_filter, neighbourhood


def gaussian_blur(x: Tensor, keys: Tensor, sigma: float) -> Tensor:
    """Blur with a Gaussian of ``sigma`` pixels."""
    del keys
    return gaussian_filter(x, sigma)


def defocus_blur(x: Tensor, keys: Tensor, radius: float, softness: float) -> Tensor:
    """Blur with a disc of ``radius`` pixels.

    Its edge is softened by a Gaussian of ``softness`` pixels.
    """
    del keys
    return _disc_filter(x, disc(radius, softness))


def disc(radius: float, softness: float) -> Tensor:
    """Build the kernel of a disc with a softened edge.

    Returns (2R+1, 2R+1) float64 with R >= 8, equal weights within ``radius`` pixels, smoothed by a Gaussian of 3 x 3 or
    5 x 5.
    """
    reach = 8 if radius <= 8 else int(radius)
    offset = torch.arange(-reach, reach + 1, dtype=torch.float64)
    inside = (offset[:, None] ** 2 + offset**2 <= radius**2).double()
    near = torch.arange(-1, 2) if radius <= 8 else torch.arange(-2, 3)
    weights = torch.exp(-0.5 * (near.double() / softness) ** 2)
    weights /= weights.sum()
    kernel = (inside / inside.sum())[None, None]
    return neighbourhood(kernel, weights[:, None] * weights)[0, 0]


def _disc_filter(x: Tensor, kernel: Tensor) -> Tensor:
    """Correlate with a kernel symmetric in both directions; mirrored rows are added before weighting."""
    reach = len(kernel) // 2
    while reach > 0 and not kernel[len(kernel) // 2 + reach].any():
        reach -= 1  # small discs have a large kernel
    middle, (height, width) = len(kernel) // 2, x.shape[-2:]
    padded = F.pad(x, (reach,) * 4, mode="reflect")
    total = torch.zeros_like(x)
    for i in range(reach + 1):
        rows = padded[..., reach + i : reach + i + height, :]
        if i > 0:
            rows = rows + padded[..., reach - i : reach - i + height, :]
        for j in range(-reach, reach + 1):
            weight = float(kernel[middle + i, middle + j])
            if weight > 1e-12:
                total.add_(rows[..., reach + j : reach + j + width], alpha=weight)
    return total


def glass_blur(x: Tensor, keys: Tensor, sigma: float, reach: float, rounds: float) -> Tensor:
    """Blur, displace pixels randomly, and blur again.

    The Gaussian has ``sigma`` pixels. Each of the ``rounds`` moves pixels by up to ``reach`` pixels.

    The reference visits the pixels from last to first and is meant to swap each with a neighbour. By the rules of its
    arrays it copies the neighbour's present value instead, and so does this function. A neighbour that was visited
    before already holds a copy, so a pixel follows a chain of copies; all chains are followed at once, by pointer
    doubling.
    """
    batch, channels, height, width = x.shape
    soft = cut_to_levels(gaussian_filter(x, sigma)).flatten(2)
    source = torch.arange(height * width, device=x.device).expand(batch, -1)
    for turn in range(int(rounds)):
        source = source.gather(1, _copied_from(keys, height, width, int(reach), turn))
    moved = soft.gather(2, source[:, None].expand(-1, channels, -1)).view(x.shape)
    return gaussian_filter(moved, sigma)


def _copied_from(keys: Tensor, height: int, width: int, reach: int, turn: int) -> Tensor:
    """Return the pixel (B, HW) before the round whose value each pixel holds after it."""
    pixels = height * width
    here = torch.arange(pixels, device=keys.device)
    row, column = here // width, here % width
    walked = (row > reach) & (row <= height - reach) & (column > reach) & (column <= width - reach)
    move = torch.floor(keyed_uniform(keys, (2, pixels), draw=turn) * (2 * reach)).long() - reach
    neighbour = torch.where(walked, here + move[:, 0] * width + move[:, 1], here)
    # indices below `pixels`: pixels after their own turn; others: pixels before the round, where chains end
    known = ~walked[neighbour.clamp(0, pixels - 1)] | (neighbour <= here)
    pointer = torch.where(known, neighbour + pixels, neighbour)
    while bool((pointer < pixels).any()):
        pointer = torch.where(pointer < pixels, pointer.gather(1, pointer.clamp(max=pixels - 1)), pointer)
    return pointer - pixels


def motion_blur(x: Tensor, keys: Tensor, radius: float, sigma: float) -> Tensor:
    """Blur by a camera motion along a line.

    The angle is drawn from -45 to 45 degrees; see :func:`motion_filter`.
    """
    angle = 90 * keyed_uniform(keys, (1,))[:, 0] - 45
    return torch.round(motion_filter(x, angle, int(radius), sigma) * 255) / 255  # ImageMagick rounds, others cut


def motion_filter(x: Tensor, angle: Tensor, radius: int, sigma: float) -> Tensor:
    """Blur along a line like ImageMagick's motion blur.

    The filter is a one-sided Gaussian of 2 ``radius`` + 1 pixels.

    Args:
        x: Images, (B, C, H, W); border pixels are repeated beyond the border.
        angle: Direction of each image, (B,), degrees.
        radius: Half the length of the line, pixels.
        sigma: Standard deviation of the Gaussian, pixels.
    """
    batch, channels, height, width = x.shape
    taps = torch.arange(2 * radius + 1, device=x.device, dtype=torch.float64)
    weights = torch.exp(-0.5 * (taps / sigma) ** 2)
    weights /= weights.sum()
    turn = angle.double()[:, None] * (math.pi / 180)
    down = torch.ceil(taps * torch.sin(turn) - 0.5).long()  # (B, taps)
    right = torch.ceil(taps * torch.cos(turn) - 0.5).long()
    edge = 2 * radius + 1
    flat = F.pad(x, (edge,) * 4, mode="replicate").flatten(2)
    stride = width + 2 * edge
    rows, columns = torch.arange(height, device=x.device), torch.arange(width, device=x.device)
    here = ((rows[:, None] + edge) * stride + columns + edge).flatten()
    total = torch.zeros(batch, channels, height * width, device=x.device, dtype=x.dtype)
    for tap, weight in enumerate(weights.tolist()):
        index = here + (down[:, tap] * stride + right[:, tap])[:, None]  # (B, HW)
        total.add_(flat.gather(2, index[:, None].expand(-1, channels, -1)), alpha=weight)
    return total.view(x.shape)


def zoom_blur(x: Tensor, keys: Tensor, stop: float, step: float) -> Tensor:
    """Average the image and its enlargements.

    The factors are 1, 1 + ``step``, ... below ``stop``.
    """
    del keys
    factors = np.arange(1, stop, step).tolist()  # numpy, since rounding decides whether the last factor is included
    total = x.clone()
    for factor in factors:
        total += clipped_zoom(x, factor, *x.shape[-2:])
    return total / (len(factors) + 1)
