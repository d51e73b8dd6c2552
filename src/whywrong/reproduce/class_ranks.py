"""Rank of the true class of an error among all other classes by distance.

Source: ours, docs/guides/reproduce.md (claim inverted.6); distances as in DeepFool (Moosavi-Dezfooli et al. 2016, arXiv
1511.04599).
"""

from __future__ import annotations

import torch
from torch import Tensor

from whywrong.models.classifier import Classifier

_AT_ONCE = 16  # classes whose gradients are held in memory at a time


def class_ranks(classifier: Classifier, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Rank the true class by first-order l2 distance among all but the predicted one.

    The distance to class j is ``m_j / ||grad m_j||_2``, with ``m_j`` the margin by which the predicted class leads j.
    It takes K - 1 backward passes per image, and a forward pass for every 16 of them.

    Args:
        classifier: Images (B, C, H, W) in [0, 1] to logits (B, K), differentiable.
        x: (B, C, H, W), misclassified images.
        y: (B,), int64, true classes.

    Returns:
        Rank (B,) int64, 1 for the nearest; distance to the true class divided by the median of the K - 2 others (B,),
        NaN if there are none.
    """
    if len(x) == 0:
        return y.new_zeros(0), x.new_zeros(0)
    parts: list[tuple[Tensor, Tensor]] = []
    for images, truth in zip(x.split(classifier.batch_size), y.to(x.device).split(classifier.batch_size), strict=True):
        predicted = classifier.predict(images)
        others = classifier.num_classes - 1
        column = torch.arange(others, device=x.device).expand(len(images), -1)
        targets = column + (column >= predicted[:, None])  # (b, K - 1), all classes but the predicted one
        found = [_distances(classifier, images, predicted, chunk) for chunk in targets.split(_AT_ONCE, dim=1)]
        distance = torch.cat(found, 1)
        true = targets == truth[:, None]
        mine = distance[true]
        rank = 1 + (distance < mine[:, None]).sum(1)
        rest = distance[~true].view(len(images), others - 1)
        middle = rest.quantile(0.5, dim=1) if others > 1 else torch.full_like(mine, torch.nan)
        parts.append((rank, mine / middle))
    rank, ratio = (torch.cat(column) for column in zip(*parts, strict=True))
    return rank, ratio


def _distances(classifier: Classifier, x: Tensor, predicted: Tensor, targets: Tensor) -> Tensor:
    """Compute first-order distances from images to the classes ``targets`` (b, R).

    Returns (b, R).
    """

    def leads(logits: Tensor, rows: slice) -> Tensor:
        places = targets[rows].to(logits.device)
        return logits.gather(1, predicted[rows, None].to(logits.device)) - logits.gather(1, places)

    _, lead, gradients = classifier.gradient(x, leads)
    return lead / gradients.flatten(2).norm(dim=2).clamp_min(torch.finfo(lead.dtype).tiny)
