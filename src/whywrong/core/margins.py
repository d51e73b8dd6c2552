"""Margins between logits, which say how far an image is from being correctly classified."""

from __future__ import annotations

import torch
from torch import Tensor


def best_other(logits: Tensor, y: Tensor) -> Tensor:
    """Return the highest-scoring class other than ``y``, (B,) int64."""
    return logits.detach().scatter(1, y[:, None], -torch.inf).argmax(1)


def error_margin(logits: Tensor, y: Tensor) -> Tensor:
    """Compute the margin m_y = max over j != y of z_j, minus z_y.

    It is positive while the image is misclassified and negative once it is correctly classified.

    Args:
        logits: (B, K), K >= 2.
        y: (B,), int64.

    Returns:
        (B,), logits; differentiable.

    Source: ours, docs/methods/inverted.md (a targeted margin with target ``y``).
    """
    others = logits.scatter(1, y[:, None], -torch.inf)
    return others.amax(1) - logits.gather(1, y[:, None])[:, 0]
