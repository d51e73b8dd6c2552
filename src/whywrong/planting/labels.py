"""Wrong and ambiguous labels: random, nearest class, two objects in one picture."""

from __future__ import annotations

import torch
from torch import Tensor

from whywrong.core.randomness import keyed_uniform
from whywrong.planting.batch import Candidate, Perturbation, PlantingBatch, near_class, redraw

_SHARES = (0.35, 0.45, 0.55, 0.65, 0.75)  # share of the picture's width that the other object covers


def random_flip(batch: PlantingBatch, severity: int) -> Candidate:
    """Label the unchanged picture with another class of the data, at random."""
    return Candidate(batch.x, _other(batch))


def near_flip(batch: PlantingBatch, severity: int) -> Candidate:
    """Label the picture with the runner-up class, as a tired annotator might."""
    return Candidate(batch.x, near_class(batch))


def two_objects(batch: PlantingBatch, severity: int) -> Candidate:
    """Add a second object of another class, which the classifier predicts instead.

    In drawn pictures, the object itself is added; in photographs, another photograph covers a growing right part.
    """
    if batch.scene is not None:
        other = _other(batch)
        shrink = batch.scene.shrink * (1.1 - 0.1 * severity)
        return redraw(batch, batch.scene.but(second=other, shrink=shrink), must=other)
    partner = torch.arange(len(batch)).roll(1)
    differs = batch.y[partner] != batch.y
    share = _SHARES[severity - 1]
    width = batch.x.shape[-1]
    cut = round(width * (1 - share))
    x = batch.x.clone()
    x[..., :cut] = _middle(batch.x, cut)
    x[..., cut:] = _middle(batch.x[partner], width - cut)
    must = torch.where(differs, batch.y[partner], batch.y)  # a partner of the same class can never fool
    return Candidate(x, batch.y, f"{share:.0%} of the width", must)


def _other(batch: PlantingBatch) -> Tensor:
    """Draw a class of the data other than the true one, (B,) int64."""
    classes = batch.classes
    start = (keyed_uniform(batch.keys, (), 301) * (len(classes) - 1)).long()
    place = (classes[None] == batch.y[:, None]).long().argmax(1)
    return classes[(place + 1 + start) % len(classes)]


def _middle(x: Tensor, width: int) -> Tensor:
    left = (x.shape[-1] - width) // 2
    return x[..., left : left + width]


PERTURBATIONS = (
    Perturbation("label", "random", random_flip, graded=False),
    Perturbation("label", "near", near_flip, graded=False),
    Perturbation("label", "two", two_objects),
)
