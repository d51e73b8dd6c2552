"""Edits that remove fine detail: blur, median, total variation, resizing, deblocking."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from whywrong.data.corruptions.filters import gaussian_filter
from whywrong.explain.edits.estimates import luma_of, quiet_noise

_ROUNDS = 20  # of the accelerated projection; on noisy images the objective is then within 10 % of its minimum
_VALUES_AT_ONCE = 1 << 17  # values denoised together on a CPU, so that they fit in its cache
_BLOCK, _SEAM = 8, 0.06  # pixels of a JPEG block; largest step across its edge that is no edge of the picture
_ODD = 0.15  # pixel range; single values further from their median than this are odd
_REACH, _FLAT = 2, 1e-3  # pixels and variance of the guided filter
# Smith 1996: after these 19 comparisons the fifth of nine values is their median.
_NETWORK = (
    *((1, 2), (4, 5), (7, 8), (0, 1), (3, 4), (6, 7), (1, 2), (4, 5), (7, 8), (0, 3), (5, 8), (4, 7)),
    *((3, 6), (1, 4), (2, 5), (4, 7), (4, 2), (6, 4), (4, 2)),
)


def blur(x: Tensor, sigma: float) -> Tensor:
    """Blur with a Gaussian of ``sigma`` pixels."""
    return gaussian_filter(x, sigma).clamp(0, 1)


def median(x: Tensor) -> Tensor:
    """Replace every value by the median of its 3 x 3 neighbourhood.

    Border pixels are repeated beyond the border.
    """
    height, width = x.shape[2:]
    padded = F.pad(x, (1, 1, 1, 1), mode="replicate")
    nine = [padded[..., i : i + height, j : j + width] for i in range(3) for j in range(3)]
    for low, high in _NETWORK:
        nine[low], nine[high] = torch.minimum(nine[low], nine[high]), torch.maximum(nine[low], nine[high])
    return nine[4]


def despeckled(x: Tensor) -> Tensor:
    """Replace values far from the median of their 3 x 3 neighbourhood by it."""
    middle = median(x)
    return torch.where((x - middle).abs() > _ODD, middle, x)


def resized(x: Tensor, factor: float) -> Tensor:
    """Shrink to ``factor`` of the sides and enlarge again, linearly."""
    size = [max(1, round(side * factor)) for side in x.shape[2:]]
    small = F.interpolate(x, size, mode="bilinear", antialias=True, align_corners=False)
    return F.interpolate(small, x.shape[2:], mode="bilinear", align_corners=False).clamp(0, 1)


def denoised(x: Tensor) -> Tensor:
    """Denoise by total variation, as strongly as each image's noise requires."""
    return total_variation(x, quiet_noise(luma_of(x)).clamp(0.004, 0.3))


def total_variation(x: Tensor, weight: float | Tensor) -> Tensor:
    """Denoise every channel by total variation.

    Minimises ``|u - x|^2 / 2 + weight TV(u)`` over u in [0, 1].

    Args:
        x: (B, C, H, W).
        weight: One for all, or (B,); positive, in units of the pixel range.

    Source: Beck and Teboulle 2009, "Fast gradient-based algorithms for constrained total variation image denoising and
    deblurring problems", FGP with the isotropic norm.
    """
    weights = weight if isinstance(weight, Tensor) else x.new_full((len(x),), weight)
    cached = max(1, _VALUES_AT_ONCE // max(1, x[:1].numel()))
    count = cached if x.device.type == "cpu" else max(1, len(x))
    parts = [_minimum(*rows) for rows in zip(x.split(count), weights.view(-1, 1, 1, 1).split(count), strict=True)]
    return torch.cat(parts) if parts else x.clone()


def _minimum(x: Tensor, weight: Tensor) -> Tensor:
    p, q = torch.zeros_like(x), torch.zeros_like(x)  # dual field, down and across; the last row and column stay 0
    r, s, momentum, step = p.clone(), q.clone(), 1.0, 1 / (8 * weight)
    for _ in range(_ROUNDS):
        u = _primal(x, r, s, weight).mul_(step)
        r[..., :-1, :] += u[..., 1:, :] - u[..., :-1, :]
        s[..., :-1] += u[..., 1:] - u[..., :-1]
        length = (r * r).addcmul_(s, s).sqrt_().clamp_(min=1)
        r, s = r.div_(length), s.div_(length)
        after = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = 1 + (momentum - 1) / after
        p, q, r, s, momentum = r, s, p.lerp_(r, ahead), q.lerp_(s, ahead), after
    return _primal(x, p, q, weight)


def _primal(x: Tensor, p: Tensor, q: Tensor, weight: Tensor) -> Tensor:
    divergence = p + q
    divergence[..., 1:, :] -= p[..., :-1, :]
    divergence[..., 1:] -= q[..., :-1]
    return divergence.mul_(weight).add_(x).clamp_(0, 1)


def deblocked(x: Tensor) -> Tensor:
    """Smooth small steps at the edges of 8 x 8 blocks, as a JPEG leaves them."""
    for dim in (2, 3):
        edges = torch.arange(_BLOCK, max(x.shape[dim], _BLOCK), _BLOCK, device=x.device)
        before, after = x.index_select(dim, edges - 1), x.index_select(dim, edges)
        step = after - before
        part = torch.where(step.abs() <= _SEAM, step / 4, 0.0)
        x = x.index_copy(dim, edges - 1, before + part).index_copy(dim, edges, after - part)
    return x.clamp(0, 1)


def chroma_restored(x: Tensor) -> Tensor:
    """Guide the colour by the luma, which a JPEG stores at twice the resolution.

    Source: He, Sun and Tang 2010, "Guided image filtering".
    """
    if x.shape[1] != 3:
        return x
    luma = luma_of(x)
    colour = x - luma
    mean, variance = _box(luma), _box(luma.square())
    slope = (_box(colour * luma) - mean * _box(colour)) / (variance - mean.square() + _FLAT)
    rest = _box(colour) - slope * mean
    return (luma + _box(slope) * luma + _box(rest)).clamp(0, 1)


def _box(x: Tensor) -> Tensor:
    """Average over 5 x 5 pixels; border pixels are repeated beyond the border."""
    padded = F.pad(x, (_REACH,) * 4, mode="replicate")
    return F.avg_pool2d(padded, 2 * _REACH + 1, stride=1)
