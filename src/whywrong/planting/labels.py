"""Wrong and ambiguous labels: flipped at random, flipped to the nearest class, two objects in one picture."""

from __future__ import annotations

import torch
from torch import Tensor

from whywrong.core.randomness import keyed_uniform
from whywrong.planting.subjects import Kind, Proposal, Subjects, near_class, redraw

_SHARES = (0.35, 0.45, 0.55, 0.65, 0.75)  # of the picture's width that the other object takes


def random_flip(subjects: Subjects, level: int) -> Proposal:
    """Another class of the data, at random, as label; the picture stays."""
    return Proposal(subjects.x, _other(subjects))


def near_flip(subjects: Subjects, level: int) -> Proposal:
    """The class that the classifier finds nearest as label: what a tired annotator confuses too."""
    return Proposal(subjects.x, near_class(subjects))


def two_objects(subjects: Subjects, level: int) -> Proposal:
    """A second object of another class, which the classifier reads instead of the labelled one.

    Drawn pictures get the object itself; of photographs, the other one takes the larger and larger right part.
    """
    if subjects.scene is not None:
        other = _other(subjects)
        shrink = subjects.scene.shrink * (1.1 - 0.1 * level)
        return redraw(subjects, subjects.scene.but(second=other, shrink=shrink), must=other)
    partner = torch.arange(len(subjects)).roll(1)
    differs = subjects.y[partner] != subjects.y
    share = _SHARES[level - 1]
    width = subjects.x.shape[-1]
    cut = round(width * (1 - share))
    x = subjects.x.clone()
    x[..., :cut] = _middle(subjects.x, cut)
    x[..., cut:] = _middle(subjects.x[partner], width - cut)
    must = torch.where(differs, subjects.y[partner], subjects.y)  # a partner of the same class can never fool
    return Proposal(x, subjects.y, f"{share:.0%} of the width", must)


def _other(subjects: Subjects) -> Tensor:
    """(B,) int64: a class of the data at random, never the true one."""
    classes = subjects.classes
    start = (keyed_uniform(subjects.keys, (), 301) * (len(classes) - 1)).long()
    place = (classes[None] == subjects.y[:, None]).long().argmax(1)
    return classes[(place + 1 + start) % len(classes)]


def _middle(x: Tensor, width: int) -> Tensor:
    left = (x.shape[-1] - width) // 2
    return x[..., left : left + width]


KINDS = (
    Kind("label", "random", random_flip, graded=False),
    Kind("label", "near", near_flip, graded=False),
    Kind("label", "two", two_objects),
)
