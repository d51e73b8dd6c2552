"""Extend methods to accept models and data in any supported form."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from whywrong.core.classes import ClassList
from whywrong.core.data_facts import DataFacts
from whywrong.core.errors import InputError
from whywrong.data.batches import load_images
from whywrong.doors.pairs import input_spec, open_model, open_pair
from whywrong.models.classifier import Classifier

MOST = 256  # maximum number of images of a data set in one call of a method

F = TypeVar("F", bound=Callable[..., Any])


def open_inputs(method: F) -> F:
    """Extend a method to accept a module and a data set or arrays.

    ``method`` has the signature ``method(classifier, x, y, ...)``. A module is wrapped with
    :func:`whywrong.doors.pairs.open_model`. If ``y`` is missing, ``x`` is a data set of at most 256 images with labels.
    A classifier and tensors are passed on unchanged, because the method checks them itself.
    """

    @functools.wraps(method)
    def opened(classifier: Any, x: Any, y: Any = None, **options: Any) -> Any:
        if not isinstance(classifier, Classifier) or y is None:
            classifier, x, y = _open(classifier, x, y)
        return method(classifier, x, y, **options)

    return opened  # type: ignore[return-value]


def _open(model: Any, x: Any, y: Any) -> tuple[Classifier, Tensor, Tensor]:
    if isinstance(x, np.ndarray) and x.dtype.kind == "f" and y is not None:
        x = torch.from_numpy(x).float()
    if isinstance(x, Tensor) and y is not None:
        size = tuple(x.shape[1:]) if x.ndim == 4 else None
        classifier = open_model(model, DataFacts(size=size, prepared=True))  # type: ignore[arg-type]
        return classifier, x, y if isinstance(y, Tensor) else torch.as_tensor(y, device=x.device)
    if y is None:
        return _read(model, x)
    if len(x) != len(y):
        raise InputError(f"{len(x)} images came with {len(y)} labels")
    return _read(model, list(zip(x, y, strict=True)))


def _read(model: Any, data: Any) -> tuple[Classifier, Tensor, Tensor]:
    """Read all images of a data set as one batch, on the device of the classifier.

    Raises:
        InputError: There are too many images, one cannot be used, or one has no label.
    """
    classifier, source = open_pair(model, data)
    if len(source) > MOST:
        raise InputError(
            f"a method takes at most {MOST} images at once, the data set has {len(source):,}: pass a part of it, as "
            "torch.utils.data.Subset(data, range(64)), or use whywrong.diagnose"
        )
    spec = input_spec(classifier, source)
    (first,) = load_images(source, spec=spec, classes=None, batch_size=len(source))
    if first.failed:
        raise InputError(f"{first.failed[0].entry.key} cannot be used: {first.failed[0].reason}")
    if bool((first.y < 0).any()):
        raise InputError(f"{first.items[int((first.y < 0).nonzero()[0])].entry.key} has no label, which a method needs")
    x = first.x.to(classifier.device)
    with classifier:
        count = classifier.logits(x[:1]).shape[1]
    named = classifier.classes is not None and classifier.classes.named
    ordered = source.facts.classes
    classes = classifier.classes if named or ordered is None or len(ordered) != count else ClassList(ordered)
    assert classes is not None
    labels = source.match_labels(classes)
    y = torch.tensor([labels[str(item.entry.label)] for item in first.items], device=classifier.device)
    return classifier, x, y
