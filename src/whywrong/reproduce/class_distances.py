"""First-order distances from misclassified images to classes, for the claim that the true class is near.

Source: ours, docs/guides/reproduce.md (claim ``inverted.6``).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from whywrong.models.classifier import Classifier


@dataclass(frozen=True, slots=True, eq=False)
class ClassDistances:
    """First-order l2 distances from the images to classes.

    Attributes:
        rank: (B,), int64, of the true class by distance, 1 the nearest.
        ranked: (B,), int64, classes ranked, the true one among them.
        ratio: (B,), distance to the true class divided by the median of the others; NaN where there are none.
        forwards: (B,), int64.
        backwards: (B,), int64.
    """

    rank: Tensor
    ranked: Tensor
    ratio: Tensor
    forwards: Tensor
    backwards: Tensor


def class_distances(classifier: Classifier, x: Tensor, y: Tensor, others: int = 10) -> ClassDistances:
    """How near the true class is, next to the ``others`` highest-scoring classes that are neither it nor predicted.

    The distance to class j is that of the targeted linear step, ``m_j / ||grad m_j||_2`` with ``m_j`` the margin by
    which the predicted class leads j: for the true class it is the first-order estimate of the fix. One forward and
    ``1 + others`` backward passes an image (fewer where there are fewer classes).

    Args:
        classifier: Images (B, C, H, W) in [0, 1] to logits (B, K), differentiable.
        x: (B, C, H, W), misclassified images.
        y: (B,), int64, true classes.
        others: Classes besides the true one; at most K - 2.

    Returns:
        Ranks and ratios.
    """
    parts: list[tuple[Tensor, Tensor]] = []
    for truth, images in zip(y.split(classifier.batch_size), x.split(classifier.batch_size), strict=True):

        def leads(logits: Tensor, rows: slice, truth: Tensor = truth) -> Tensor:
            target = _targets(logits, truth[rows], others)
            return logits.amax(1, keepdim=True) - logits.gather(1, target)

        # One chunk at a time: the gradients to all classes of a whole batch would not fit into memory.
        _, lead, gradients = classifier.gradient(images, leads)
        parts.append((lead, gradients.flatten(2).norm(dim=2)))
    lead, norm = (torch.cat(column) for column in zip(*parts, strict=True))
    distance = lead / norm.clamp_min(torch.finfo(norm.dtype).tiny)
    rank = 1 + (distance[:, 1:] < distance[:, :1]).sum(1)
    ranked = torch.full_like(rank, distance.shape[1])
    if distance.shape[1] > 1:
        ratio = distance[:, 0] / distance[:, 1:].quantile(0.5, dim=1)
    else:
        ratio = torch.full_like(lead[:, 0], torch.nan)
    return ClassDistances(rank, ranked, ratio, torch.ones_like(ranked), ranked)


def _targets(logits: Tensor, y: Tensor, others: int) -> Tensor:
    """(B, 1 + R) int64: the true class, then the highest-scoring others, without the predicted class."""
    hidden = logits.detach().scatter(1, y[:, None], -torch.inf)
    hidden = hidden.scatter(1, hidden.argmax(1, keepdim=True), -torch.inf)
    count = min(others, logits.shape[1] - 2)
    return torch.cat([y[:, None], hidden.topk(count, dim=1).indices], 1)
