"""Arguments and results of a loader.

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
    """A model by name, with everything that the user states about it.

    Attributes:
        name: The name without its scheme, or the path of a file as given.
        weights: Absolute path of a file; for the libraries also ``pretrained`` or ``random``; None if not given.
        weights_key: Set of weights to load from a file that holds several.
        classes: K, if the user names the classes.
        given: Preprocessing that the user states, by the names in ``SPEC_FIELDS``; None if not stated.
    """

    name: str
    weights: str | None = None
    weights_key: str | None = None
    classes: int | None = None
    given: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """A loaded model with what it states about itself.

    Attributes:
        model: Module or callable.
        name: Name by which another process loads the same model, with absolute paths; None if it is the given name.
        says: Preprocessing that the model states, by the names in ``SPEC_FIELDS``.
        classes: Its classes, if the loader knows them; the classifier finds those that the model stores.
        ask: What to do if the input size is missing, for the message.
        sources: Bytes that define the architecture beyond structure and weights.
        by_attributes: Whether ``says`` was read from attributes, which the model may also use itself.
        output: How its answers are read, if the loader knows it, see
            :class:`whywrong.models.classifier.Classifier`.
        notes: Remarks on how it was loaded, one sentence each.
    """

    model: nn.Module | Callable[..., Any]
    says: Mapping[str, Any]
    name: str | None = None
    classes: ClassList | None = None
    ask: str = "give --input-size 224, or input_size=(3, 224, 224) in Python"
    sources: tuple[bytes, ...] = field(default=())
    by_attributes: bool = False
    output: str | None = None
    notes: tuple[str, ...] = field(default=())
