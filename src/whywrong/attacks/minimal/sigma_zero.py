"""Sigma-zero: Adam on the margin plus a smooth count of the changed pixels, with small changes cut off.

Source: Cinà, Villani, Pintor, Schönherr, Biggio and Pelillo 2025, "sigma-zero: Gradient-based Optimization of l0-norm
Adversarial Examples", ICLR, arXiv 2402.01879, algorithm 1. Differences: it may have a target, as the margin toward the
goal takes the place of the loss; it counts pixels instead of single values; an image leaves once a single pixel
suffices.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from whywrong.attacks.inverted.margin_oracle import Linearization
from whywrong.attacks.minimal.nearest import Nearest

_SIGMA = 1e-3  # squared change at which a pixel counts half
_RATE = 1.0, 0.1  # step size, first and last, along a half cosine
_CUT = 0.3  # changes of a pixel below it are set to zero, at first
_CUT_RATE = 0.01  # by which it rises or falls, as a share of the step size
_DECAY = 0.9, 0.999  # of the two moments of Adam


def sigma_zero(search: Nearest, start: Linearization, steps: Tensor) -> None:
    """Search from ``start`` for a change of the fewest pixels.

    Args:
        search: Keeps the best change and counts.
        start: Linearised images, (n,).
        steps: (n,), int64, steps of each image, one forward and one backward pass each.
    """
    open_rows = (steps > 0).nonzero().flatten()
    now = start.at(open_rows)
    mean, square = torch.zeros_like(now.pixels), torch.zeros_like(now.pixels)
    rate, cut = torch.full_like(now.margin, _RATE[0]), torch.full_like(now.margin, _CUT)
    taken = 0
    while len(open_rows):
        box = search.box.at(open_rows)
        grad = _gradient(now, now.pixels - box.x)
        taken += 1
        mean = _DECAY[0] * mean + (1 - _DECAY[0]) * grad
        square = _DECAY[1] * square + (1 - _DECAY[1]) * grad.square()
        scale = (square / (1 - _DECAY[1] ** taken)).sqrt() + 1e-8
        pixels = box.clip(now.pixels - _column(rate / (1 - _DECAY[0] ** taken)) * mean / scale)
        cosine = (1 + torch.cos(math.pi * (taken - 1) / steps[open_rows].to(rate.dtype))) / 2
        rate = _RATE[1] + (_RATE[0] - _RATE[1]) * cosine
        cut = (cut + torch.where(now.right, _CUT_RATE, -_CUT_RATE) * rate).clamp_(0, 1)
        small = (pixels - box.x).abs().amax(1, keepdim=True) < _column(cut)
        now = search.linearise(open_rows, torch.where(small, box.x, pixels))
        going = (taken < steps[open_rows]) & (search.size[open_rows] > 1)
        if not bool(going.all()):
            open_rows, now = open_rows[going], now.at(going)
            mean, square, rate, cut = mean[going], square[going], rate[going], cut[going]


def _gradient(now: Linearization, delta: Tensor) -> Tensor:
    """Compute the gradient of max(margin, 0) + mean(e / (e + sigma)).

    (n, C, H, W), scaled to a largest value of 1; e is the squared change of a pixel, summed over channels.
    """
    assert now.grad is not None
    energy = delta.square().sum(1, keepdim=True)
    count = 2 * _SIGMA * delta / ((energy + _SIGMA).square() * energy[0].numel())
    grad = now.grad * _column((now.margin > 0).to(delta.dtype)) + count
    return grad / _column(grad.flatten(1).abs().amax(1).clamp_min(1e-12))


def _column(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)
