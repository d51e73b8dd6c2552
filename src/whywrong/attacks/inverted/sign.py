"""Sign attacks toward the true class, the simplest inverted attacks, in steps of grey levels.

A1, iterative: x <- clip(x - a sign(g)), g the gradient of the cross entropy, until the image is correct.
A2, growing step: one gradient g at the original image, then x - k a sign(g) for k = 1, 2, ...

Source: Haffar et al. 2021, DOI 10.1007/978-3-030-85529-1_26, abstract; step and loss are ours, the paper's could not
be read.
"""

from __future__ import annotations

import torch
from torch import Tensor

from whywrong.attacks.balls import Box
from whywrong.attacks.inverted.margin_oracle import Linearization, MarginOracle
from whywrong.core.randomness import keyed_sign


def iterative_sign(
    oracle: MarginOracle, rows: Tensor, start: Linearization, box: Box, step: float, steps: int, keys: Tensor
) -> tuple[Linearization, Tensor]:
    """Run attack A1.

    Args:
        oracle: Evaluates images and counts the passes.
        rows: (n,), int64, indices of the images in the batch.
        start: Misclassified images, linearised by the cross entropy.
        box: Allowed pixels of these rows.
        step: [0, 1] units.
        steps: Most candidates per image.
        keys: (n,), int64, seeds of the direction if the gradient is zero everywhere.

    Returns:
        The last candidate of each row and the number of candidates (n,) int64.
    """
    return _walk(oracle, rows, start, box, step, steps, keys, growing=False)


def growing_sign(
    oracle: MarginOracle, rows: Tensor, start: Linearization, box: Box, step: float, steps: int, keys: Tensor
) -> tuple[Linearization, Tensor]:
    """Run attack A2, with arguments and result as in :func:`iterative_sign`."""
    return _walk(oracle, rows, start, box, step, steps, keys, growing=True)


def _walk(
    oracle: MarginOracle,
    rows: Tensor,
    start: Linearization,
    box: Box,
    step: float,
    steps: int,
    keys: Tensor,
    *,
    growing: bool,
) -> tuple[Linearization, Tensor]:
    now = start.clone()
    sent = torch.zeros_like(rows)
    open_rows = torch.arange(len(rows), device=rows.device)
    for k in range(1, steps + 1):
        base = now.at(open_rows)
        if k > 1 and not growing:
            base = oracle.linearise(rows[open_rows], base.pixels, entropy=True)
        origin = start.pixels[open_rows] if growing else base.pixels
        assert base.grad is not None
        candidate = box.at(open_rows).clip(
            origin - (k if growing else 1) * step * _direction(base.grad, keys[open_rows], k)
        )
        moved = (candidate != base.pixels).flatten(1).any(1)
        open_rows, candidate = open_rows[moved], candidate[moved]
        if not len(open_rows):
            break
        points = oracle.test(rows[open_rows], candidate)
        sent[open_rows] += 1
        now.put(open_rows, points)
        open_rows = open_rows[~points.right]
    return now, sent


def _direction(grad: Tensor, keys: Tensor, draw: int) -> Tensor:
    flat = (grad == 0).flatten(1).all(1)
    direction = grad.sign()
    if bool(flat.any()):
        direction[flat] = keyed_sign(keys[flat], grad.shape[1:], draw).to(grad.dtype)
    return direction
