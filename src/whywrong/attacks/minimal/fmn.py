"""FMN: a step along the gradient, then onto a ball whose radius follows the boundary.

Source: Pintor, Roli, Brendel and Biggio 2021, "Fast Minimum-norm Adversarial Attacks through Adaptive Norm
Constraints", arXiv 2102.12827, algorithm 1. Differences: the first step is a multiple of the linear estimate of the
distance, instead of 1; the projection in l2 leaves changes inside the ball as they are; l0 counts pixels instead of
single values; an image leaves once a single pixel suffices.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from whywrong.attacks.balls import norm_of
from whywrong.attacks.inverted.margin_oracle import Linearization
from whywrong.attacks.minimal.geometry import Geometry
from whywrong.attacks.minimal.nearest import Nearest

_GAMMA = 0.05, 0.001  # share by which the radius changes, first and last, along a half cosine
_STEP = 1.0, 0.01  # length of a step, first and last, as a share of ``step_size``


def fmn(search: Nearest, start: Linearization, step_size: Tensor, steps: Tensor) -> None:
    """Search from ``start`` for the smallest change in the norm of the search.

    Args:
        search: Keeps the best change and counts.
        start: Linearised images, (n,).
        step_size: (n,), l2 length of the first step, [0, 1] units; steps get shorter, down to a hundredth of it.
        steps: (n,), int64, steps of each image, one forward and one backward pass each.
    """
    open_rows = (steps > 0).nonzero().flatten()
    now = start.at(open_rows)
    furthest = search.geometry.size(torch.maximum(search.box.x, 1 - search.box.x))
    radius = search.geometry.size(start.pixels - search.box.x)
    found = start.right.clone()
    taken = 0
    while len(open_rows):
        box, geometry = search.box.at(open_rows), search.geometry.at(open_rows)
        assert now.grad is not None
        cosine = (1 + torch.cos(math.pi * taken / steps[open_rows].to(radius.dtype))) / 2
        delta = now.pixels - box.x
        radius[open_rows] = torch.where(
            found[open_rows],
            _moved(now, geometry, radius[open_rows], search.size[open_rows], _between(_GAMMA, cosine)),
            _estimated(now, geometry, delta),
        ).minimum(furthest[open_rows])
        length = step_size[open_rows] * _between(_STEP, cosine) / norm_of(now.grad, "l2").clamp_min(1e-12)
        pixels = box.clip(box.x + geometry.project(delta - length.view(-1, 1, 1, 1) * now.grad, radius[open_rows]))
        now = search.linearise(open_rows, pixels)
        found[open_rows] |= now.right
        taken += 1
        going = taken < steps[open_rows]
        if search.geometry.norm == "l0":
            going &= search.size[open_rows] > 1  # no change has fewer pixels
        if not bool(going.all()):
            open_rows, now = open_rows[going], now.at(going)


def _moved(now: Linearization, geometry: Geometry, radius: Tensor, best: Tensor, gamma: Tensor) -> Tensor:
    """Shrink the radius (n,) after a change that reaches the goal, let it grow otherwise."""
    less, more = radius * (1 - gamma), radius * (1 + gamma)
    if geometry.norm == "l0":
        less, more = torch.minimum(radius - 1, less.floor()).clamp_min(1), torch.maximum(radius + 1, more.floor())
    return torch.where(now.right, torch.minimum(less, best), more)


def _estimated(now: Linearization, geometry: Geometry, delta: Tensor) -> Tensor:
    """Estimate the distance (n,) of the boundary from the image, as long as no change has reached the goal."""
    size = geometry.size(delta)
    if geometry.norm == "l0":
        return torch.maximum(size + 1, (size * (1 + _GAMMA[0])).floor())
    assert now.grad is not None
    return size + now.margin.abs() / geometry.slope(now.grad).clamp_min(1e-12)


def _between(ends: tuple[float, float], share: Tensor) -> Tensor:
    return ends[1] + (ends[0] - ends[1]) * share
