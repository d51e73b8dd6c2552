"""Misclassified images of a classifier, as input of claims."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from whywrong.models.classifier import Classifier
from whywrong.reproduce.protocol import LabelledImages


def error_batches(
    classifier: Classifier, data: LabelledImages, *, limit: int | None, batch_size: int = 64
) -> Iterator[tuple[Tensor, Tensor, list[str]]]:
    """Yield the misclassified images in batches, at most ``limit`` in all.

    Rows without finite logits are skipped: they are failures of the model, not errors.
    """
    held: list[tuple[Tensor, Tensor, list[str]]] = []
    waiting, found = 0, 0
    for x, y, ids in data.batches(classifier):
        logits, _ = classifier.logits_or_faults(x)  # NaN in the rows at fault
        wrong = ((logits.argmax(1) != y) & logits.isfinite().all(1)).nonzero().flatten()
        if limit is not None:
            wrong = wrong[: limit - found]
        found += len(wrong)
        if len(wrong):
            held.append((x[wrong], y[wrong], [str(ids[i]) for i in wrong.tolist()]))
            waiting += len(wrong)
        full = limit is not None and found >= limit
        if held and (waiting >= batch_size or full):
            yield _join(held)
            held, waiting = [], 0
        if full:
            return
    if held:
        yield _join(held)


def _join(held: list[tuple[Tensor, Tensor, list[str]]]) -> tuple[Tensor, Tensor, list[str]]:
    images, labels, ids = zip(*held, strict=True)
    return torch.cat(images), torch.cat(labels), [name for part in ids for name in part]
