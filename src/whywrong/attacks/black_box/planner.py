"""Decide what to ask next about each image: which length of a direction, or that the direction is given up.

Source: ours, docs/methods/black_box.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from whywrong.attacks.black_box.config import BlackBoxConfig

Step = Literal["direction", "corrected", "square", "labels"]
BEYOND = 1.3  # how far beyond the expected crossing the next length goes
FARTHEST = 2.5  # of the radius: a crossing expected beyond this is given up
GROWTH = 1.25  # least factor between two lengths


@dataclass(frozen=True, slots=True)
class Planned:
    """A step and the most images that it may ask about each image."""

    step: Step
    queries: int


def plan(config: BlackBoxConfig, *, scores: bool, surrogate: bool) -> tuple[Planned, ...]:
    """List the steps for the access and the budget, the cheapest first; each takes the images left by the ones before.

    A direction of a surrogate costs at most ``lengths`` images and often succeeds with the first one. A search without
    it takes what is left: Square with scores; patterns, then a walk along the boundary with labels.
    """
    left, steps = config.queries, []
    for number in range((config.recrafts + 1) if surrogate else 0):
        share = min(config.lengths * (1 + config.confirm), left)
        if share:
            steps.append(Planned("corrected" if number else "direction", share))
        left -= share
    if left and config.tail == "auto":
        steps.append(Planned("square" if scores else "labels", left))
    return tuple(steps)


def next_length(
    config: BlackBoxConfig, asked: int, length: Tensor, margin: Tensor, before: tuple[Tensor, Tensor]
) -> Tensor:
    """Choose the next length along a direction that has not succeeded yet.

    With scores, the margin falls along a good direction, and where it would cross zero is extrapolated from the last
    two lengths; a direction along which it does not fall, or not soon enough, is given up. Labels tell nothing about
    progress, so that lengths grow in equal steps to the radius.

    Args:
        config: Settings.
        asked: Lengths that were asked so far along it, at least 1.
        length: The last one, (n,), grey levels.
        margin: Margin there, (n,), positive; NaN for labels only, and for a class that is not listed.
        before: The length before that and its margin, (n,) each; 0 and that of the unchanged image at first.

    Returns:
        (n,), grey levels, at most the radius; NaN where the direction is given up.
    """
    radius = config.eps * 255
    if asked >= config.lengths:
        return torch.full_like(length, torch.nan)
    even = config.first + (radius - config.first) * asked / max(config.lengths - 1, 1)
    fallen = (before[1] - margin) / (length - before[0]).clamp_min(1e-6)
    expected = length + BEYOND * margin / fallen
    expected = expected.where((fallen > 0) & (expected <= FARTHEST * radius), torch.nan)
    following = torch.maximum(expected, GROWTH * length)  # NaN stays NaN
    following = torch.full_like(length, even).where(margin.isnan() | before[1].isnan(), following).clamp(max=radius)
    return following.where(length < radius - 0.5, torch.nan)
