"""Every statement that a method or its part of the report makes, and how to hear whether it was made.

A statement says more than what was measured: that a change means something, that a place matters. What a method only
measures (distances, maps, sizes of groups) is no statement; a method without any is listed with what it gives instead.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from whywrong.api import load_classifier, open_data
from whywrong.core.discoveries import confirm
from whywrong.core.registry import methods, resolve
from whywrong.data.batches import load_images
from whywrong.models.classifier import Classifier
from whywrong.reproduce.null_cases import NullCase

JUDGES = ("planted:vit", "planted:cnn-robust")


@dataclass(frozen=True, slots=True)
class Statement:
    """What is said, and of which images of a case of a shipped net it was said: (N,) bool."""

    words: str
    said: Callable[[NullCase, str], Tensor]


@functools.cache
def pictures(net: str) -> tuple[Classifier, Tensor, Tensor]:
    """A shipped net with the drawn test pictures and their classes."""
    classifier = load_classifier(net, batch_size=64)
    source = open_data("planted:test")
    parts = list(load_images(source, spec=classifier.preprocess, classes=classifier.classes, batch_size=64))
    return classifier, torch.cat([part.x for part in parts]), torch.cat([part.y for part in parts])


def result_of(method: str, case: NullCase, **settings: Any) -> Any:
    """What a registered method finds in a case."""
    entry = methods()[method]
    config = replace(resolve(entry.config)(), **settings)
    return resolve(entry.function)(case.classifier, case.x, case.y, config=config)


def semantic(case: NullCase, net: str) -> Tensor:
    """Counterfactuals into the label that judges believe, so that they are drawn as explanations."""
    judges = tuple(judge for judge in JUDGES if judge != net)
    found = result_of("counterfactuals", case, judges=judges).entries
    said = torch.zeros(len(case.x), dtype=torch.bool)
    for row, role, trust, guide in zip(found.row.tolist(), found.role, found.trust, found.guide, strict=True):
        said[row] |= role == "true" and trust == "semantic" and guide != "none"
    return said


@functools.cache
def role_play(net: str, most: int) -> np.ndarray:
    """What covering brings out in images that the net reads right, asked for their runner-up."""
    classifier, x, y = pictures(net)
    order = classifier.logits(x).argsort(1, descending=True)
    rows = (order[:, 0] == y).nonzero().flatten()[:most]
    return result_of("covering", NullCase("role play", classifier, x[rows], order[rows, 1])).v.numpy()


def place_confirmed(case: NullCase, net: str) -> Tensor:
    """Places that stand out from the role-played images of the net, and turn the prediction into the label."""
    found = result_of("covering", case)
    controls = role_play(net, max(40, len(case.x)))
    return torch.from_numpy(confirm(found.v.numpy(), found.turned.numpy(), controls).kept)


STATEMENTS: dict[str, tuple[Statement, ...]] = {
    "covering": (Statement("hiding this place brings out the label and no other class", place_confirmed),),
    "counterfactuals": (Statement("others see the change, too", semantic),),
}

NO_STATEMENT: dict[str, str] = {
    "cam": "what a score is made of: shares of a logit, which add up to it",
    "inverted": "distances, and maps of where the model is sensitive",
    "patch_groups": "what the model predicts with patches hidden",
    "profiles": "sizes of interactions, with intervals and their noise",
}
