"""Errors of a classifier, and a fixed random choice of its correctly classified images."""

from __future__ import annotations

import torch
from torch import Tensor

from whywrong.core.randomness import item_keys, keyed_uniform
from whywrong.models.classifier import Classifier
from whywrong.reproduce.protocol import LabelledImages


def correct_images(classifier: Classifier, data: LabelledImages, most: int, seed: int) -> tuple[Tensor, Tensor]:
    """Choose correctly classified images at random.

    The choice depends on their ids and ``seed``, not on their order.

    Returns:
        Images (n, C, H, W) and classes (n,), n at most ``most``.
    """
    images, labels, order = [], [], []
    for x, y, ids in data.batches(classifier):
        right = classifier.predict(x) == y
        kept = right.nonzero().flatten()
        images.append(x[kept])
        labels.append(y[kept])
        order.append(keyed_uniform(item_keys(seed, [str(ids[i]) for i in kept.tolist()], "correct"), ()))
        if sum(map(len, order)) > 2 * most:
            images, labels, order = _smallest(images, labels, order, most)
    if not order:
        return torch.empty(0, 3, 1, 1), torch.empty(0, dtype=torch.int64)
    images, labels, _ = _smallest(images, labels, order, most)
    return images[0], labels[0]


def _smallest(
    images: list[Tensor], labels: list[Tensor], order: list[Tensor], most: int
) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    keys = torch.cat(order)
    rows = keys.argsort()[:most]
    return [torch.cat(images)[rows]], [torch.cat(labels)[rows]], [keys[rows]]
