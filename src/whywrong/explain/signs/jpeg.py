"""Traces of JPEG compression in the 8 x 8 cosine transform of an image, on the grid of the blocks and off it.

Source: Fan and de Queiroz 2003, "Identification of bitmap compression history" (coefficients of a decoded JPEG lie near
multiples of the steps they were rounded to); the comparison with a shifted grid is ours, docs/methods/signs.md.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_BLOCK, _SHIFT = 8, 4
_MOST = 100  # blocks that are read, evenly spread; more add little and cost time
_ZERO = 1.0 / 255
_QUALITIES = (95, 92, 90, 88, 85, 80, 75, 70, 65, 60, 50, 40, 30)
# ITU-T T.81, table K.1, luminance
_TABLE = (
    *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56),
    *(14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
)


def zeroed(plane: Tensor) -> Tensor:
    """Compare the shares of zero coefficients on the grid of the blocks and off it.

    A compressed image has more on the grid; in others the difference is 0 in the mean.

    Args:
        plane: (n, 1, H, W), at least 16 pixels a side.

    Returns:
        (n,), in -1 to 1.
    """
    shares = [(_coefficients(plane, start).abs() < _ZERO).float().mean((1, 2)) for start in (0, _SHIFT)]
    return shares[0] - shares[1]


def comb(plane: Tensor) -> Tensor:
    """Measure how far coefficients lie on the steps of a JPEG of some quality.

    Args:
        plane: Luma (n, 1, H, W), at least 16 pixels a side.

    Returns:
        (n,), the largest over qualities of 30 to 95; 1 if all coefficients are multiples of their steps.
    """
    on, off = _coefficients(plane, 0) * 255, _coefficients(plane, _SHIFT) * 255
    tables = torch.tensor([_steps(quality) for quality in _QUALITIES], device=plane.device, dtype=plane.dtype)
    return torch.stack([_periodic(on, steps) - _periodic(off, steps) for steps in tables]).amax(0)


def _periodic(coefficients: Tensor, steps: Tensor) -> Tensor:
    there = (coefficients.abs() > steps / 2) & (steps > 1)
    wave = torch.cos(coefficients * (2 * math.pi / steps)) * there
    return wave.sum((1, 2)) / (there.sum((1, 2)) + 8)  # 8 more, so that a few coefficients prove nothing


def _steps(quality: int) -> list[int]:
    """Return the 63 quantisation steps of a quality, as the reference code of JPEG scales them."""
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return [min(255, max(1, (step * scale + 50) // 100)) for step in _TABLE[1:]]


def _coefficients(plane: Tensor, start: int) -> Tensor:
    """Transform the blocks of a grid that starts at a pixel, (n, blocks, 63) without the mean of each block."""
    blocks = plane[:, 0, start:, start:].unfold(1, _BLOCK, _BLOCK).unfold(2, _BLOCK, _BLOCK).flatten(1, 2)
    if blocks.shape[1] > _MOST:
        chosen = torch.linspace(0, blocks.shape[1] - 1, _MOST, device=plane.device).round().long()
        blocks = blocks[:, chosen]
    k = torch.arange(_BLOCK, device=plane.device, dtype=torch.float32)
    basis = torch.cos(math.pi / _BLOCK * (k[None, :] + 0.5) * k[:, None]) * (2 / _BLOCK) ** 0.5
    basis[0] /= 2**0.5
    return (basis @ blocks @ basis.T).flatten(2)[..., 1:]
