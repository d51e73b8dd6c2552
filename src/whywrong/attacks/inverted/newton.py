"""Newton search for a correctly classified image: step beyond the linearised boundary, test, repeat.

The pass that tests a candidate also linearises the next step, so k candidates cost k forward and k
backward passes beyond the one on the original image. Source: ours, docs/methods/inverted.md.
"""

from __future__ import annotations

import torch
from torch import Tensor

from whywrong.attacks.balls import Box
from whywrong.attacks.inverted.config import InvertedConfig
from whywrong.attacks.inverted.margin_oracle import Linearization, MarginOracle
from whywrong.attacks.inverted.steps import STEPS, polyhedral_step


def newton_search(
    oracle: MarginOracle, rows: Tensor, start: Linearization, box: Box, rounds: int, config: InvertedConfig
) -> tuple[Linearization, Tensor]:
    """Search from the original images until they are correctly classified.

    Args:
        oracle: Evaluates images and counts the passes.
        rows: (n,), int64, indices of the images in the batch.
        start: The original images, linearised.
        box: Allowed pixels of these rows.
        rounds: Most candidates per image.
        config: ``norm`` and ``overshoot``.

    Returns:
        The last candidate of each row, linearised, and the number of candidates (n,) int64.

    If ``start`` has the margins over several rivals, the first step avoids all of them at once, as most failing
    candidates are predicted as a third class. Later steps use only the highest-scoring rival.
    """
    assert start.grad is not None
    now = start.clone()
    if start.rival_margins is not None:
        now.grad, now.rival_margins = start.grad[:, 0].clone(), None
    sent = torch.zeros_like(rows)
    open_rows = torch.arange(len(rows), device=rows.device)
    for k in range(rounds):
        base = start if k == 0 else now.at(open_rows)
        candidate = _next_candidate(base, box.at(open_rows), config)
        moved = (candidate != base.pixels).flatten(1).any(1)  # a row that cannot move would only repeat itself
        open_rows, candidate = open_rows[moved], candidate[moved]
        if not len(open_rows):
            break
        points = oracle.linearise(rows[open_rows], candidate)
        sent[open_rows] += 1
        now.put(open_rows, points)
        open_rows = open_rows[~points.right]
    return now, sent


def _next_candidate(base: Linearization, box: Box, config: InvertedConfig) -> Tensor:
    assert base.grad is not None
    low, high = box.room(base.pixels)
    if base.rival_margins is None:
        need = base.margin * (1 + config.overshoot) + 2 * base.slack
        delta, _ = STEPS[config.norm](base.grad, need, low, high)
    else:
        # Every rival must end as far behind as the overshoot puts the highest-scoring one.
        need = base.rival_margins + (config.overshoot * base.margin + 2 * base.slack)[:, None]
        delta, _ = polyhedral_step(base.grad, need, low, high)
    return box.clip(base.pixels + delta)
