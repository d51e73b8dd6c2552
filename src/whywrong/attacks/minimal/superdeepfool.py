"""SuperDeepFool: steps to the linearised boundary, each followed by a projection onto its normal.

Source: Abdolahpourrostam, Abroshan and Moosavi-Dezfooli 2023, "Revisiting DeepFool: generalization and improvement",
arXiv 2303.12481, algorithm 3, SDF(inf, 1). Differences: it may have a target, as the margin toward the goal takes the
place of the nearest boundary; the DeepFool steps keep to the pixel range; it does not stop at the first projection that
reaches the goal, but when the change hardly moves any more, and the smallest change that reached the goal is kept.
"""

from __future__ import annotations

import torch
from torch import Tensor

from whywrong.attacks.balls import norm_of, unit
from whywrong.attacks.inverted.margin_oracle import Linearization
from whywrong.attacks.inverted.steps import l2_step
from whywrong.attacks.minimal.nearest import Nearest

_OVERSHOOT = 0.02  # of a DeepFool step
_ARRIVED = 1e-3  # an image leaves if its change moves by less than this share of it


def superdeepfool(search: Nearest, start: Linearization, steps: Tensor) -> None:
    """Search from ``start`` for the smallest change in l2.

    Args:
        search: Keeps the best change and counts.
        start: Linearised images, (n,).
        steps: (n,), int64, most steps of each image, one forward and one backward pass each.
    """
    open_rows = (steps > 0).nonzero().flatten()
    now = start.at(open_rows)
    taken = 0
    while len(open_rows):
        box = search.box.at(open_rows)
        delta = now.pixels - box.x
        moved = torch.where(
            now.right.view(-1, 1, 1, 1), _projected(now, delta), delta + _ahead(now, box.room(now.pixels))
        )
        pixels = box.clip(box.x + moved)
        taken += 1
        far = norm_of(pixels - now.pixels, "l2") > _ARRIVED * norm_of(delta, "l2")
        now = search.linearise(open_rows, pixels)
        going = (taken < steps[open_rows]) & far
        if not bool(going.all()):
            open_rows, now = open_rows[going], now.at(going)


def _ahead(now: Linearization, room: tuple[Tensor, Tensor]) -> Tensor:
    """Compute the DeepFool step (n, C, H, W) from a point that does not reach the goal."""
    assert now.grad is not None
    return l2_step(now.grad, now.margin * (1 + _OVERSHOOT) + 2 * now.slack, *room)[0]


def _projected(now: Linearization, delta: Tensor) -> Tensor:
    """Project the change (n, C, H, W) onto the normal of the boundary at a point that reaches the goal."""
    assert now.grad is not None
    normal = unit(now.grad)
    return (delta * normal).flatten(1).sum(1).view(-1, 1, 1, 1) * normal
