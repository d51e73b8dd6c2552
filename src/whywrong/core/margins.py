"""Differences of logits that say how far an image is from being right."""

from __future__ import annotations

import torch
from torch import Tensor


def best_other(logits: Tensor, y: Tensor) -> Tensor:
    """(B,) int64: the highest-scoring class other than ``y``."""
    return logits.detach().scatter(1, y[:, None], -torch.inf).argmax(1)


def error_margin(logits: Tensor, y: Tensor) -> Tensor:
    """m_y = max over j != y of z_j, minus z_y: positive while the image is wrong, negative once it is right.

    Args:
        logits: (B, K), K >= 2.
        y: (B,), int64.

    Returns:
        (B,), logits; differentiable.

    Source: ours, docs/methods/inverted.md (a targeted margin with target ``y``).
    """
    others = logits.scatter(1, y[:, None], -torch.inf)
    return others.amax(1) - logits.gather(1, y[:, None])[:, 0]
