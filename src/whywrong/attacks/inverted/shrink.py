"""Shrink a first fix to the nearest one: Newton steps along the boundary, then back to the image.

Each refinement linearises the margin at the current change d, computes the smallest change d' that is correct by the
linearisation (exactly, in the box), and moves part of the way, d <- d + damping (d' - d). Intermediate points need not
be correct; the smallest correct one is kept. Near the boundary this is the fixed-point iteration of Hasofer, Lind,
Rackwitz and Fiessler (structural reliability, 1978), whose fixed points are the local minimisers; the damping prevents
oscillation at the kinks of a network. Source: ours, docs/methods/inverted.md.
"""

from __future__ import annotations

import torch
from torch import Tensor

from whywrong.attacks.balls import Box, norm_of
from whywrong.attacks.inverted.margin_oracle import Linearization, MarginOracle
from whywrong.attacks.inverted.steps import STEPS

_DAMPING = {"l2": 0.3, "linf": 0.5, "l1": 1.0, "l0": 1.0}  # share of the distance to the linearised boundary
_EXTRA = 0.3  # how far beyond that boundary a refinement aims at first, as a share of the need
_LESS, _MORE = 0.5, 1.5  # factors of the extra after a correct and after a wrong point
_EXTRA_RANGE = 0.005, 1.0
_AIM = 2.0  # margin aimed at on the line to the image, in units of the safety
_INSIDE = 0.02  # distance of a test from the ends of the bracket, as a share of it
_ARRIVED = 0.01  # refinement ends if it would move a correct point by less than this share of its change


def close_in(
    oracle: MarginOracle, rows: Tensor, x: Tensor, margin: Tensor, fix: Linearization, tests: int
) -> tuple[Linearization, Tensor]:
    """Find where the line from the image to its fix crosses the boundary.

    False position with the Illinois rule (Dowell and Jarratt 1971): both ends and their margins are known, and the
    margin is nearly linear on the line, so that a few tests achieve what would take many bisections.

    Args:
        oracle: Evaluates images and counts the passes.
        rows: (n,), int64, indices of the images in the batch.
        x: (n, C, H, W), originals.
        margin: (n,), their margins, positive.
        fix: Correctly classified images.
        tests: Points tested per image.

    Returns:
        The nearest correct point found, with the gradient of ``fix``, and the number of tests (n,) int64.
    """
    best = fix.clone()
    delta = fix.pixels - x
    # Shares of the line, and the distance to the margin aimed at, which is slightly beyond the safety.
    low, high = torch.zeros_like(margin), torch.ones_like(margin)
    above, below = margin + _AIM * fix.slack, (fix.margin + _AIM * fix.slack).clamp_max(0)
    for _ in range(tests):
        share = high - (high - low) * below / (below - above)
        share = torch.maximum(torch.minimum(share, high - _INSIDE * (high - low)), low + _INSIDE * (high - low))
        points = oracle.test(rows, x + share.view(-1, 1, 1, 1) * delta)
        right, value = points.right, points.margin + _AIM * points.slack
        low, high = torch.where(right, low, share), torch.where(right, share, high)
        # The value at the end that stays is halved, so that both ends close in.
        above = torch.where(right, above / 2, value.clamp_min(0))
        below = torch.where(right, value.clamp_max(0), below / 2)
        found = right.nonzero().flatten()
        best.put(found, points.at(found))
    return best, torch.full_like(rows, tests)


def polish(
    oracle: MarginOracle, rows: Tensor, box: Box, start: Linearization, norm: str, steps: int
) -> tuple[Linearization, Tensor]:
    """Move along the boundary toward the smallest correct change in ``norm``.

    Args:
        oracle: Evaluates images and counts the passes.
        rows: (n,), int64, indices of the images in the batch.
        box: Allowed pixels of these rows.
        start: Correctly classified images, linearised.
        norm: l2, linf, l1 or l0.
        steps: Most refinements per image.

    Returns:
        The smallest correct points found, linearised, and the number of refinements (n,) int64.
    """
    best = start.clone()
    smallest = norm_of(best.pixels - box.x, norm)
    extra = torch.full_like(smallest, _EXTRA)
    sent = torch.zeros_like(rows)
    now = start
    open_rows = torch.arange(len(rows), device=rows.device)
    for k in range(steps):
        inside = box.at(open_rows)
        delta = now.pixels - inside.x
        way = _nearest(now, delta, inside, norm, extra[open_rows]) - delta
        going = (norm_of(way, norm) > _ARRIVED * norm_of(delta, norm)) | ~now.right
        open_rows, inside, delta, way = open_rows[going], inside.at(going), delta[going], way[going]
        if not len(open_rows):
            break
        # The start may be the fix for another norm, so the first step is not damped.
        share = _DAMPING[norm] if k or norm == "l2" else 1.0
        pixels = inside.clip(inside.x + delta + share * way)
        now = oracle.linearise(rows[open_rows], pixels)
        sent[open_rows] += 1
        extra[open_rows] *= torch.where(now.right, _LESS, _MORE)
        extra.clamp_(*_EXTRA_RANGE)
        size = norm_of(pixels - inside.x, norm)
        better = (now.right & (size < smallest[open_rows])).nonzero().flatten()
        best.put(open_rows[better], now.at(better))
        smallest[open_rows[better]] = size[better]
    return best, sent


def _nearest(now: Linearization, delta: Tensor, box: Box, norm: str, extra: Tensor) -> Tensor:
    """Compute the smallest change that is correct by the linearisation at ``now``, with a reserve."""
    assert now.grad is not None
    along = (now.grad * delta).flatten(1).sum(1, dtype=torch.float64)
    need = now.margin.double() - along + 2 * now.slack.double()
    target, _ = STEPS[norm](now.grad, need * (1 + extra), *box.room())
    return target
