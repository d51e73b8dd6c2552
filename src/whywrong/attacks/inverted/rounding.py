"""Round a fix to whole grey levels, away from the image.

A smallest fix is often below half a grey level, so that plain rounding returns the image. Instead the change is cut
to whole levels and then, pixel by pixel in decreasing order of |g delta|, raised to the next level away from the
image, until the linearised margin is negative with a reserve. If the test fails, it is repeated with a larger reserve
and a larger change. Source: ours, docs/methods/inverted.md.
"""

from __future__ import annotations

import torch
from torch import Tensor

from whywrong.attacks.balls import Box
from whywrong.attacks.inverted.margin_oracle import MarginOracle
from whywrong.attacks.inverted.sign import iterative_sign

_STRENGTHS = (1.0, 1.5, 2.5, 4.0, 8.0, 16.0)
_SPARE = 0.3  # reserve of the first attempt, as a share of the original margin
_SIGN_STEPS = 30
_EXACT = 1e-3  # grey levels; a change this close to a whole level differs from it only by float32 rounding


def grey_levels(x: Tensor) -> Tensor:
    """Round pixels in [0, 1] to grey levels (B, C, H, W) uint8."""
    return (x * 255).round().clamp(0, 255).to(torch.uint8)


def round_fix(
    oracle: MarginOracle, rows: Tensor, x: Tensor, delta: Tensor, grad: Tensor, margin: Tensor, keys: Tensor
) -> tuple[Tensor, Tensor]:
    """Round fixes to whole grey levels.

    Args:
        oracle: Evaluates images and counts the passes.
        rows: (n,), int64, indices of the images in the batch.
        x: (n, C, H, W), originals in [0, 1].
        delta: (n, C, H, W), their fixes.
        grad: (n, C, H, W), gradient of the margin at or near the fix.
        margin: (n,), margin of the originals, logits.
        keys: (n,), int64, seeds of the sign attack that follows if rounding fails.

    Returns:
        Grey levels (n, C, H, W) uint8, the original's if no fix was found, and whether one was found (n,) bool.
    """
    levels = grey_levels(x)
    change = ((x + delta) * 255 - levels).flatten(1)  # (n, D), grey levels, real
    whole = change.round()
    change = torch.where((change - whole).abs() < _EXACT, whole, change)
    slope = grad.flatten(1)
    gain = (slope * change).neg_().clamp_min_(0)
    order = gain.sort(dim=1, descending=True, stable=True).indices
    fixed = torch.zeros_like(rows, dtype=torch.bool)
    answer = levels.clone()
    open_rows = torch.arange(len(rows), device=rows.device)
    for strength in _STRENGTHS:
        goal = margin[open_rows] * (1 + _SPARE * strength)
        candidate = _directed(levels[open_rows], strength * change[open_rows], slope[open_rows], order[open_rows], goal)
        points = oracle.test(rows[open_rows], candidate.float() / 255)
        found = open_rows[points.right]
        answer[found] = candidate[points.right]
        fixed[found] = True
        open_rows = open_rows[~points.right]
        if not len(open_rows):
            return answer, fixed
    pixels = levels[open_rows].float() / 255
    start = oracle.linearise(rows[open_rows], pixels, entropy=True)
    points, _ = iterative_sign(oracle, rows[open_rows], start, Box(pixels, 1.0), 1 / 255, _SIGN_STEPS, keys[open_rows])
    found = open_rows[points.right]
    answer[found] = grey_levels(points.pixels[points.right])
    fixed[found] = True
    return answer, fixed


def _directed(levels: Tensor, change: Tensor, slope: Tensor, order: Tensor, goal: Tensor) -> Tensor:
    """Cut the change toward zero, then raise the first pixels of ``order`` until the goal is met."""
    start = levels.flatten(1).to(change.dtype)
    lower = change.trunc()
    upper = torch.copysign(change.abs().ceil(), change)
    lower = (start + lower).clamp_(0, 255).sub_(start)
    upper = (start + upper).clamp_(0, 255).sub_(start)
    met = -(slope * lower).sum(1, dtype=torch.float64) / 255
    gains = ((upper - lower) * slope).gather(1, order).double().neg_().div_(255)
    before = gains.cumsum(1) - gains
    raised = before < (goal.double() - met)[:, None]
    chosen = torch.zeros_like(raised).scatter_(1, order, raised & (gains > 0))
    whole = start + torch.where(chosen, upper, lower)
    return whole.to(torch.uint8).view_as(levels)
