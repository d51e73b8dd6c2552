"""Edits that restore fine detail: unsharp masking and deblurring by the estimated width."""

from __future__ import annotations

import torch
from torch import Tensor

from whywrong.data.corruptions.filters import fold_half, gaussian_filter
from whywrong.explain.edits.estimates import WIDEST, blur_width

_AMOUNT, _SIGMA = 1.0, 1.0
_ROUNDS = 10  # of Richardson and Lucy; more amplify noise
_SHARP = 0.5  # pixels; an image with edges this sharp is not blurred
_RADIUS = 6  # pixels, two standard deviations of the widest blur


def unsharp(x: Tensor) -> Tensor:
    """Add what a blur of 1 pixel removes."""
    return (x + _AMOUNT * (x - gaussian_filter(x, _SIGMA))).clamp(0, 1)


def deblurred(x: Tensor) -> Tensor:
    """Undo a Gaussian blur of the width that the edges of each image show.

    The iteration is that of Richardson and Lucy. Edges of a sharp picture are half a pixel wide; only the width above
    that is undone, in squares.

    Source: Richardson 1972; Lucy 1974.
    """
    width = (blur_width(x).clamp(max=WIDEST).square() - _SHARP**2).clamp(min=1e-4).sqrt()
    blurs = [_blurs(width, side) for side in x.shape[2:]]
    observed = x.clamp(min=1e-3)
    estimate = observed
    for _ in range(_ROUNDS):
        ratio = observed / _apply(blurs, estimate).clamp(min=1e-3)
        estimate = (estimate * _apply(blurs, ratio)).clamp(1e-3, 1)
    return estimate


def _blurs(width: Tensor, side: int) -> Tensor:
    """Build the matrices (B, N, N) of Gaussian blurs of ``width`` (B,) along a side that is mirrored at its edges."""
    distance = torch.arange(-_RADIUS, _RADIUS + 1, device=width.device)
    weights = (-0.5 * (distance / width[:, None]).square()).exp()
    weights = weights / weights.sum(1, keepdim=True)
    source = fold_half(torch.arange(side, device=width.device)[:, None] + distance, side)
    matrix = weights.new_zeros(len(width), side, side)
    return matrix.scatter_add_(2, source.expand(len(width), -1, -1), weights[:, None].expand(-1, side, -1))


def _apply(blurs: list[Tensor], x: Tensor) -> Tensor:
    down, across = (matrix[:, None] for matrix in blurs)
    return down @ x @ across.transpose(2, 3)
