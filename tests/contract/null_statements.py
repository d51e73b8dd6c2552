"""Every statement that a method or its part of the report makes, and how to hear whether it was made.

A statement says more than what was measured: that a change means something, that a place matters. What a method only
measures (distances, maps, sizes of groups) is no statement; a method without any is listed with what it gives instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from whywrong.core.registry import methods, resolve
from whywrong.reproduce.null_cases import NullCase

JUDGES = ("planted:vit", "planted:cnn-robust")


@dataclass(frozen=True, slots=True)
class Statement:
    """What is said, and of which images of a case it was said: (N,) bool."""

    words: str
    said: Callable[[NullCase], Tensor]


def result_of(method: str, case: NullCase, **settings: Any) -> Any:
    """What a registered method finds in a case."""
    entry = methods()[method]
    config = replace(resolve(entry.config)(), **settings)
    return resolve(entry.function)(case.classifier, case.x, case.y, config=config)


def semantic(case: NullCase) -> Tensor:
    """Counterfactuals into the label that judges believe, so that they are drawn as explanations."""
    found = result_of("counterfactuals", case, judges=JUDGES).entries
    said = torch.zeros(len(case.x), dtype=torch.bool)
    for row, role, trust, guide in zip(found.row.tolist(), found.role, found.trust, found.guide, strict=True):
        said[row] |= role == "true" and trust == "semantic" and guide != "none"
    return said


STATEMENTS: dict[str, tuple[Statement, ...]] = {
    "counterfactuals": (Statement("others see the change, too", semantic),),
}

NO_STATEMENT: dict[str, str] = {
    "cam": "what a score is made of: shares of a logit, which add up to it",
    "inverted": "distances, and maps of where the model is sensitive",
    "patch_groups": "what the model predicts with patches hidden",
    "profiles": "sizes of interactions, with intervals and their noise",
}
