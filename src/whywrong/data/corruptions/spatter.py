"""Spatter corruption, drops of water or splashes of mud on the lens.

Source: Hendrycks and Dietterich 2019, arXiv 1903.12261, their extra corruptions. The water follows the edge detector
of Canny 1986 with thresholds 50 and 150; distances to its edges are exact here, while the reference uses a chamfer.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from whywrong.core.randomness import keyed_normal
from whywrong.data.corruptions.filters import gaussian_filter, grey, neighbourhood

WATER = (175 / 255, 238 / 255, 238 / 255)
MUD = (63 / 255, 42 / 255, 20 / 255)
_FAR = 20  # pixels, maximum distance
_ROUNDING = 1e-3


def spatter(x: Tensor, keys: Tensor, *strength: float) -> Tensor:
    """Cover the image with water or mud wherever smoothed noise is high.

    The strength is (``level``, ``spread``, ``sigma``, ``threshold``, ``amount``, ``mud``). The noise is normal (mean
    ``level``, standard deviation ``spread``), blurred by ``sigma`` pixels and kept above ``threshold``. Water adds its
    colour, at most ``amount`` of it. With ``mud``, mud replaces the image, its border softened by ``amount`` pixels.
    """
    level, spread, sigma, threshold, amount, mud = strength
    liquid = gaussian_filter(level + spread * keyed_normal(keys, (1, *x.shape[-2:])), sigma)
    if mud:
        cover = gaussian_filter((liquid > threshold).to(x.dtype), amount)
        cover = cover.masked_fill(cover < 0.8, 0.0)
        return x * (1 - cover) + cover * _colour(x, MUD)
    drops = torch.floor(liquid.masked_fill(liquid < threshold, 0.0).clamp(max=1) * 255 + _ROUNDING)
    shine = drops * _relief(_canny(drops, low=50, high=150))
    shine = shine / shine.amax((1, 2, 3), keepdim=True).clamp(min=1)
    return x + amount * shine * _colour(x, WATER)


def _colour(x: Tensor, rgb: tuple[float, float, float]) -> Tensor:
    colour = torch.tensor(rgb, device=x.device, dtype=x.dtype).view(1, 3, 1, 1)
    return grey(colour) if x.shape[1] == 1 else colour


def _relief(edges: Tensor) -> Tensor:
    """Compute the relief of drops lit from one side, from the distance to the nearest edge.

    Returns (B, 1, H, W) whole numbers 0..255.
    """
    distance = torch.floor(neighbourhood(_distance(edges), torch.full((3, 3), 1 / 9)) + _ROUNDING)
    lit = torch.tensor([[-2.0, -1, 0], [-1, 1, 1], [0, 1, 2]])
    lit = neighbourhood(_equalised(distance), lit).clamp(0, 255)
    return torch.round(neighbourhood(lit, torch.full((3, 3), 1 / 9)))


def _equalised(distance: Tensor) -> Tensor:
    """Equalise the histogram of whole numbers 0..20 over 0..255; a single value is unchanged."""
    value = torch.arange(_FAR + 1, device=distance.device).view(1, -1, 1)
    flat = distance.flatten(2)
    counts = (flat == value).sum(2)  # (B, 21)
    below = counts.cumsum(1)
    total = below[:, -1:]
    first = counts.gather(1, (counts > 0).int().argmax(1, keepdim=True))
    spread = torch.round((below - first).clamp(min=0) * (255 / (total - first).clamp(min=1)))
    spread = torch.where(first == total, value[..., 0].to(spread.dtype), spread)
    return spread.gather(1, flat[:, 0].long()).view(distance.shape)


def _distance(edges: Tensor) -> Tensor:
    """Compute the distance to the nearest edge in pixels, at most 20, first along columns, then along rows."""
    column = torch.where(edges, 0.0, float(_FAR))
    for _ in range(_FAR - 1):
        padded = F.pad(column, (0, 0, 1, 1), value=float(_FAR)) + 1
        column = torch.minimum(column, torch.minimum(padded[..., 2:, :], padded[..., :-2, :]))
    square = column**2
    padded = F.pad(square, (_FAR, _FAR, 0, 0), value=float(_FAR**2))
    width = edges.shape[-1]
    for k in range(1, _FAR):
        for start in (_FAR - k, _FAR + k):
            square = torch.minimum(square, padded[..., start : start + width] + k * k)
    return torch.sqrt(square)


def _canny(levels: Tensor, low: float, high: float) -> Tensor:
    """Find the edges (B, 1, H, W) bool of grey levels 0..255 by the 3 x 3 Sobel gradient, in the L1 norm."""
    padded = F.pad(levels, (1, 1, 1, 1), mode="replicate")
    across = padded[..., :-2, :] + 2 * padded[..., 1:-1, :] + padded[..., 2:, :]
    along = padded[..., :-2] + 2 * padded[..., 1:-1] + padded[..., 2:]
    gx = across[..., 2:] - across[..., :-2]
    gy = along[..., 2:, :] - along[..., :-2, :]
    size = gx.abs() + gy.abs()
    near = F.pad(size, (1, 1, 1, 1))
    height, width = size.shape[-2:]

    def at(down: int, right: int) -> Tensor:
        return near[..., 1 + down : 1 + down + height, 1 + right : 1 + right + width]

    flat = gy.abs() < 0.41421356 * gx.abs()  # tan 22.5 degrees
    steep = gy.abs() > 2.41421356 * gx.abs()
    falling = gx * gy >= 0
    ridge_flat = (size > at(0, -1)) & (size >= at(0, 1))
    ridge_steep = (size > at(-1, 0)) & (size >= at(1, 0))
    ridge_fall = (size > at(-1, -1)) & (size > at(1, 1))
    ridge_rise = (size > at(-1, 1)) & (size > at(1, -1))
    slanted = torch.where(falling, ridge_fall, ridge_rise)
    ridge = torch.where(flat, ridge_flat, torch.where(steep, ridge_steep, slanted)) & (size > low)
    edges = ridge & (size > high)
    while True:  # weak edges count if they touch strong ones
        grown = (F.max_pool2d(edges.to(levels.dtype), 3, 1, 1) > 0) & ridge
        if bool((grown == edges).all()):
            return edges
        edges = grown
