"""What a loader receives, and what it returns.

A loader is ``load(request: ModelRequest) -> Loaded`` and one line in :mod:`whywrong.models.loading.loaders`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from whywrong.core.classes import ClassList

SPEC_FIELDS = ("input_size", "resize", "interpolation", "mean", "std")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest:
    """A model by name, with everything that its owner states about it.

    Attributes:
        name: The name without its scheme, or the path of a file as it was given.
        weights: File, absolute; for the libraries also ``pretrained`` or ``random``; None if nothing was said.
        weights_key: Which set of weights to take from a file that holds several.
        classes: K, if the owner names the classes.
        given: Preprocessing that the owner states: the names in ``SPEC_FIELDS``, None where nothing is stated.
    """

    name: str
    weights: str | None = None
    weights_key: str | None = None
    classes: int | None = None
    given: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A model with what it says about itself.

    Attributes:
        model: Module or callable.
        name: Name by which another process loads the same model, with absolute paths; None: as it was given.
        says: Preprocessing as far as the model states it: the names in ``SPEC_FIELDS``.
        classes: Its classes, if the loader knows them; those that the model carries are found by the classifier.
        ask: What to do about a missing input size, for the message.
        sources: Bytes that define the architecture beyond structure and weights.
        by_attributes: Whether ``says`` was read from attributes, which the model may also use itself.
        notes: What its owner should know about how it was loaded, one sentence each.
    """

    model: nn.Module | Callable[..., Any]
    says: Mapping[str, Any]
    name: str | None = None
    classes: ClassList | None = None
    ask: str = "give --input-size 224, or input_size=(3, 224, 224) in Python"
    sources: tuple[bytes, ...] = field(default=())
    by_attributes: bool = False
    notes: tuple[str, ...] = field(default=())
