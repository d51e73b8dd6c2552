"""Losses of capsule networks, each the mean over the images of a batch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from whywrong.models.architectures.routing import log_share

LOSSES = ("margin", "spread", "nll")


def margin_loss(
    lengths: Tensor, y: Tensor, *, present: float = 0.9, absent: float = 0.1, weight: float = 0.5
) -> Tensor:
    """Compute the margin loss of class lengths.

    Args:
        lengths: (B, K).
        y: (B,) int64.
        present: Length that the capsule of the label should exceed.
        absent: Length that all others should stay below.
        weight: Weight of the others.

    Returns:
        Sum over the classes, mean over the images.

    Source: Sabour et al. 2017, arXiv 1710.09829, equation 4.
    """
    own = nn.functional.one_hot(y, lengths.shape[1]).to(lengths.dtype)
    terms = own * (present - lengths).clamp_min(0).square()
    terms = terms + weight * (1 - own) * (lengths - absent).clamp_min(0).square()
    return terms.sum(1).mean()


def spread_loss(activation: Tensor, y: Tensor, margin: float) -> Tensor:
    """Compute the spread loss of class activations (B, K).

    ``margin`` usually grows from 0.2 to 0.9 during training.

    Source: Hinton et al. 2018, "Matrix capsules with EM routing", equation 3.
    """
    own = activation.gather(1, y[:, None])
    others = torch.ones_like(activation).scatter(1, y[:, None], 0)
    return (others * (margin - (own - activation)).clamp_min(0).square()).sum(1).mean()


def share_loss(lengths: Tensor, y: Tensor) -> Tensor:
    """Compute the negative log-likelihood of the shares of class lengths (B, K)."""
    return nn.functional.nll_loss(log_share(lengths), y)


def reconstruction_loss(picture: Tensor, x: Tensor) -> Tensor:
    """Compute the summed squared difference of images (B, C, H, W), times 0.0005.

    Source: Sabour et al. 2017, arXiv 1710.09829, section 4.1.
    """
    return 0.0005 * (picture - x).square().flatten(1).sum(1).mean()
