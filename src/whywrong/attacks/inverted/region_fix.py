"""Superpixel Newton: a fix confined to a few superpixels, which a person can inspect.

A minimal fix is spread over the whole image, so its map says little. Here the change is measured by the group norm
``||delta||_{2,1}``, the sum over superpixels S of ``||delta_S||_2``. The smallest minimiser of the linearised margin
puts everything into the superpixel with the largest ``||g_S||_2``, so the fix is built greedily: add that superpixel,
step, linearise again, and add another one if the step fell short.

Source: ours, docs/methods/inverted.md. If the step inside the chosen superpixels would change a pixel by more than
``region_change``, more are added at once, since a bleached patch explains nothing. A step that halved the margin is
followed by another one in the same superpixels. A step that achieved less than the linearised margin predicted is
followed by one longer by that factor. In the end, the weakest superpixels are dropped if the others suffice.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from whywrong.attacks.inverted.config import InvertedConfig
from whywrong.attacks.inverted.segments import paint, segment_sums
from whywrong.attacks.inverted.steps import l2_step
from whywrong.core.margins import error_margin
from whywrong.models.classifier import Classifier

_LONGEST = 4.0  # longest step, in units of the distance to the linearised boundary
_PATIENCE = 10  # rounds after which the number of superpixels added per round doubles each time


@dataclass(frozen=True, slots=True, eq=False)
class RegionFix:
    """Fixes confined to superpixels.

    Attributes:
        delta: (B, C, H, W), the change, zero outside ``chosen``; NaN if no region fix was found.
        chosen: (B, S), bool, the changed superpixels.
        fixed: (B,), bool, whether ``x + delta`` is predicted as the true class.
        forwards: (B,), int64.
        backwards: (B,), int64.
    """

    delta: Tensor
    chosen: Tensor
    fixed: Tensor
    forwards: Tensor
    backwards: Tensor


def region_fix(
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    segments: Tensor,
    margin: Tensor,
    gradient: Tensor,
    scale: Tensor,
    *,
    config: InvertedConfig,
) -> RegionFix:
    """Fix each image inside as few superpixels as a greedy search finds.

    Args:
        classifier: Maps images (B, C, H, W) in [0, 1] to logits (B, K), differentiable.
        x: (B, C, H, W), misclassified images.
        y: (B,), int64, true classes.
        segments: (B, H, W), int64, superpixels.
        margin: (B,), error margin of ``x``, logits.
        gradient: (B, C, H, W), its gradient.
        scale: (B,), size of its logits; a candidate aims beyond the safety required of a fix.
        config: ``region_overshoot``, ``region_change``, ``region_limit``, ``region_rounds``, ``radius``, ``safety``.

    Returns:
        The fixes and their cost: one forward and one backward pass per candidate, which test it and linearise the
        margin again, and one forward pass per halving of the number of superpixels at the end.
    """
    batch, count = len(x), int(segments.max()) + 1 if segments.numel() else 1
    present = segment_sums(torch.ones_like(x[:, 0]), segments, count) > 0  # (B, S)
    most = (present.sum(1) * config.region_limit).ceil().clamp_min(1).long()
    delta = torch.zeros_like(x)
    chosen = torch.zeros_like(present)
    fixed = torch.zeros(batch, dtype=torch.bool, device=x.device)
    forwards = torch.zeros(batch, dtype=torch.int64, device=x.device)
    backwards = torch.zeros_like(forwards)

    rows = torch.arange(batch, device=x.device)  # images still misclassified
    m, g = margin, gradient
    more = torch.ones_like(rows)  # superpixels to add
    reach = torch.full_like(m, 1 + config.region_overshoot)  # length of the step; 1 ends on the linearised boundary
    for step in range(config.region_rounds):
        at = x[rows] + delta[rows]
        room_low, room_high = (-at).clamp_min(-config.region_change), (1 - at).clamp_max(config.region_change)
        room_low = torch.maximum(room_low, -config.radius - delta[rows]).clamp_max(0)
        room_high = torch.minimum(room_high, config.radius - delta[rows]).clamp_min(0)
        slope = g.abs() * torch.where(g > 0, room_low < 0, room_high > 0)
        need = m.clamp_min(0) * reach + 4 * config.safety * scale[rows]
        chosen[rows] = _grow(chosen[rows], present[rows], segments[rows], slope, need, more, most[rows], config)
        inside = paint(chosen[rows], segments[rows])[:, None]
        change, _ = l2_step(g, need, room_low * inside, room_high * inside)
        delta[rows] = (at + change).clamp(0, 1) - x[rows]

        logits, now, g = margin_gradient(classifier, x[rows] + delta[rows], y[rows])
        forwards[rows] += 1
        backwards[rows] += 1
        right = is_right(logits, y[rows], config.safety)
        fixed[rows[right]] = True
        more = ((now > 0.5 * m) * 2 ** max(0, step - _PATIENCE))[~right]
        fall = (m - now).clamp_min(1e-6 * need)
        reach = (need / fall).clamp(1 + config.region_overshoot, max(_LONGEST, 1 + config.region_overshoot))[~right]
        m, g, rows = now[~right], g[~right], rows[~right]
        if not len(rows):
            break

    forwards += _prune(classifier, x, y, segments, delta, chosen, fixed, config)
    delta[~fixed] = torch.nan
    chosen &= fixed[:, None]
    return RegionFix(delta, chosen, fixed, forwards, backwards)


def _grow(
    chosen: Tensor,
    present: Tensor,
    segments: Tensor,
    slope: Tensor,
    need: Tensor,
    least: Tensor,
    most: Tensor,
    config: InvertedConfig,
) -> Tensor:
    """Choose the superpixels of the next step, the present ones and the steepest others.

    At least ``least`` are added (at least one in all), and more if the linear step inside them, with multiplier
    ``need / ||g||^2``, would still move a pixel by over ``region_change``; never more than ``most`` in all.
    """
    energy = segment_sums(slope.square().sum(1), segments, present.shape[1])  # (B, S)
    peak = torch.zeros_like(energy).scatter_reduce_(1, segments.flatten(1), slope.amax(1).flatten(1), "amax")
    first = energy.masked_fill(chosen, torch.inf).masked_fill(~present, -torch.inf)
    order = first.argsort(dim=1, descending=True, stable=True)
    total = energy.gather(1, order).cumsum(1)
    steepest = peak.gather(1, order).cummax(1).values
    gentle = need[:, None] * steepest <= config.region_change * total
    taken = chosen.sum(1)
    rank = torch.arange(1, present.shape[1] + 1, device=need.device)
    enough = gentle & (rank >= (taken + least).clamp_min(1)[:, None])
    wanted = torch.where(enough.any(1), enough.int().argmax(1) + 1, present.shape[1])
    useful = ((energy > 0) & ~chosen).sum(1) + taken  # flat superpixels add nothing
    wanted = torch.maximum(torch.minimum(wanted, torch.minimum(most, useful)), taken)
    grown = torch.zeros_like(chosen).scatter_(1, order, rank <= wanted[:, None])
    return grown & present


def _prune(
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    segments: Tensor,
    delta: Tensor,
    chosen: Tensor,
    fixed: Tensor,
    config: InvertedConfig,
) -> Tensor:
    """Keep the fewest strongest superpixels that suffice, by bisection, in place.

    Returns:
        (B,) int64, forward passes.
    """
    forwards = torch.zeros_like(fixed, dtype=torch.int64)
    energy = segment_sums(delta.square().sum(1), segments, chosen.shape[1]).masked_fill(~chosen, -1.0)
    rank = energy.argsort(dim=1, descending=True, stable=True).argsort(dim=1)  # (B, S), 0 the strongest
    few, many = torch.zeros_like(forwards), chosen.sum(1)  # too few, and enough
    whole = delta.clone()
    while bool((open_ := fixed & (many - few > 1)).any()):
        rows = open_.nonzero().flatten()
        middle = (few[rows] + many[rows]) // 2
        trial = whole[rows] * paint(rank[rows] < middle[:, None], segments[rows])[:, None]
        right = is_right(classifier.logits(x[rows] + trial), y[rows], config.safety)
        forwards[rows] += 1
        many[rows[right]], few[rows[~right]] = middle[right], middle[~right]
        delta[rows[right]] = trial[right]
    chosen &= rank < many[:, None]
    return forwards


def margin_gradient(classifier: Classifier, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compute logits (B, K), error margin (B,) and its gradient (B, C, H, W).

    One forward and one backward pass per image.
    """
    return classifier.gradient(x, lambda logits, rows: error_margin(logits, y[rows]))


def is_right(logits: Tensor, y: Tensor, safety: float) -> Tensor:
    """Check if images are correctly classified with a safe margin.

    Returns:
        (B,) bool: the true class leads by more than ``safety`` times the scale of the logits; False for a tie.
    """
    return error_margin(logits, y) < -safety * logits.abs().amax(1)
