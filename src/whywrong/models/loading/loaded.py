"""What every loader hands to :func:`whywrong.models.loading.zoo.load_classifier`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from whywrong.core.classes import ClassList

SPEC_FIELDS = ("input_size", "resize", "interpolation", "mean", "std")


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A model with what it says about itself.

    Attributes:
        model: Module or callable.
        says: Preprocessing as far as the model states it: the names in ``SPEC_FIELDS``.
        classes: Its classes, where the loader knows them; those that the model carries are found by the classifier.
        ask: What to do about a missing input size, for the message.
        sources: Bytes that define the architecture beyond structure and weights.
        by_attributes: Whether ``says`` was read from attributes, which the model may also use itself.
        notes: What its owner should know about how it was loaded, one sentence each.
    """

    model: nn.Module | Callable[..., Any]
    says: Mapping[str, Any]
    classes: ClassList | None = None
    ask: str = "give --input-size 224, or input_size=(3, 224, 224) in Python"
    sources: tuple[bytes, ...] = field(default=())
    by_attributes: bool = False
    notes: tuple[str, ...] = field(default=())
