"""Building blocks of the corruptions, such as grey levels, separable filters and interpolation.

Filters are sums of shifted images, not a library's convolutions, which choose their algorithm, and with it the last
bit of the result, by the size of the batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

_ROUNDING = 1e-3  # grey levels; keeps 127.99999 from being truncated to 127 instead of 128


def cut_to_levels(x: Tensor) -> Tensor:
    """Clip to [0, 1] and truncate to grey levels k/255.

    The reference does so by casting to bytes.
    """
    return torch.floor(x.clamp(0, 1) * 255 + _ROUNDING) / 255


def grey(x: Tensor) -> Tensor:
    """Compute the luma (B, 1, H, W) of RGB images (ITU-R BT.601).

    A single channel is returned unchanged.
    """
    if x.shape[1] == 1:
        return x
    return 0.299 * x[:, :1] + 0.587 * x[:, 1:2] + 0.114 * x[:, 2:]


def gaussian_weights(sigma: float, truncate: float) -> list[float]:
    """Compute Gaussian weights at distances 0, 1, ..., radius pixels.

    The weights of both sides together sum to 1.
    """
    radius = int(truncate * sigma + 0.5)
    half = [math.exp(-0.5 * (k / sigma) ** 2) if sigma > 0 else float(k == 0) for k in range(radius + 1)]
    total = half[0] + 2 * sum(half[1:])
    return [weight / total for weight in half]


def gaussian_filter(x: Tensor, sigma: float) -> Tensor:
    """Blur (B, C, H, W) with a Gaussian truncated at 4 sigma.

    Border pixels are repeated beyond the border.
    """
    weights = gaussian_weights(sigma, truncate=4.0)
    if len(weights) == 1:
        return x
    for dim in (2, 3):
        x = _symmetric_filter(x, weights, dim)
    return x


def _symmetric_filter(x: Tensor, weights: list[float], dim: int) -> Tensor:
    radius, size = len(weights) - 1, x.shape[dim]
    padding = (radius, radius, 0, 0) if dim == 3 else (0, 0, radius, radius)
    padded = F.pad(x, padding, mode="replicate")
    total = padded.narrow(dim, radius, size) * weights[0]
    for k, weight in enumerate(weights[1:], start=1):
        total.add_(padded.narrow(dim, radius - k, size) + padded.narrow(dim, radius + k, size), alpha=weight)
    return total


def gaussian_matrix(size: int, sigma: float, truncate: float, device: torch.device) -> Tensor:
    """Build the matrix of a Gaussian blur along one side, for any sigma.

    Returns (N, N) float64 for a side of N pixels that is mirrored at its edges.
    """
    weights = torch.tensor(gaussian_weights(sigma, truncate), dtype=torch.float64, device=device)
    distance = torch.arange(-len(weights) + 1, len(weights), device=device)
    target = torch.arange(size, device=device)[:, None]
    source = fold_half(target + distance, size)  # (N, 2R + 1)
    matrix = torch.zeros(size, size, dtype=torch.float64, device=device)
    return matrix.scatter_add_(1, source, weights[distance.abs()].expand_as(source))


def fold_half(index: Tensor, size: int) -> Tensor:
    """Mirror indices into 0..size-1 about the outer edge of the border pixels.

    For example, -1 becomes 0.
    """
    index = index.remainder(2 * size)
    return torch.minimum(index, 2 * size - 1 - index)


def fold_whole(index: Tensor, size: int) -> Tensor:
    """Mirror indices into 0..size-1 about the centre of the border pixels.

    For example, -1 becomes 1.
    """
    index = index.remainder(2 * size - 2)
    return torch.minimum(index, 2 * size - 2 - index)


def neighbourhood(x: Tensor, weights: Tensor) -> Tensor:
    """Correlate (B, C, H, W) with a (2R+1, 2S+1) kernel.

    The image is mirrored about its border pixels.
    """
    rows, columns = weights.shape
    height, width = x.shape[-2:]
    padded = F.pad(x, (columns // 2, columns // 2, rows // 2, rows // 2), mode="reflect")
    total = torch.zeros_like(x)
    for i, row in enumerate(weights.tolist()):
        for j, weight in enumerate(row):
            if weight != 0:
                total.add_(padded[..., i : i + height, j : j + width], alpha=weight)
    return total


def clipped_zoom(x: Tensor, factor: float, height: int, width: int) -> Tensor:
    """Enlarge the centre of (B, C, h, w) linearly by ``factor`` and crop it.

    The result has ``height`` x ``width`` pixels.

    ``x`` may already be the central :func:`zoom_window` pixels.
    """
    rows, columns = zoom_window(height, factor), zoom_window(width, factor)
    top, left = (x.shape[2] - rows) // 2, (x.shape[3] - columns) // 2
    crop = x[..., top : top + rows, left : left + columns]
    size = (round(rows * factor), round(columns * factor))
    large = F.interpolate(crop, size=size, mode="bilinear", align_corners=True)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    return large[..., top : top + height, left : left + width]


def zoom_window(side: int, factor: float) -> int:
    """Return the number of central pixels that fill a side after enlargement."""
    return math.ceil(side / factor)


def sample(x: Tensor, rows: Tensor, columns: Tensor, fold: Callable[[Tensor, int], Tensor]) -> Tensor:
    """Interpolate (B, C, H, W) bilinearly at positions (B, H, W) in pixels.

    ``fold`` mirrors indices beyond the border.
    """
    batch, channels, height, width = x.shape
    flat = x.flatten(2)
    top, left = rows.floor(), columns.floor()
    down, right = (rows - top)[:, None], (columns - left)[:, None]
    top, left = top.long(), left.long()
    y = [fold(top, height), fold(top + 1, height)]
    z = [fold(left, width), fold(left + 1, width)]

    def corner(i: int, j: int) -> Tensor:
        index = (y[i] * width + z[j]).view(batch, 1, -1).expand(-1, channels, -1)
        return flat.gather(2, index).view(x.shape)

    upper = corner(0, 0) * (1 - right) + corner(0, 1) * right
    lower = corner(1, 0) * (1 - right) + corner(1, 1) * right
    return upper * (1 - down) + lower * down
