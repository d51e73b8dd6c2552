"""Judges and helpers that a setting names, so that a run can ask them: each is loaded once in a process."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from torch import Tensor

from whywrong.core.errors import InputError
from whywrong.models.classifier import Classifier


def named_judges(names: Sequence[str], x: Tensor) -> tuple[Classifier, ...]:
    """Classifiers as :func:`whywrong.models.zoo.load_classifier` reads them.

    Args:
        names: As in ``nets.py:robust`` or ``planted:cnn-robust``; what they name is code, or weights, of the caller's.
        x: (B, C, H, W), images that they are to look at as they are.

    Raises:
        InputError: No such model, or one that takes images of another size.
        ModelError: It cannot be loaded.
    """
    return tuple(_fitting(name, x, "judge") for name in names)


def named_helper(name: str, x: Tensor) -> Classifier:
    """The auxiliary classifier of a guided search, by its name; as :func:`named_judges`."""
    return _fitting(name, x, "helper")


def _fitting(name: str, x: Tensor, what: str) -> Classifier:
    classifier = _load(name)
    spec = classifier.preprocess
    if spec is not None and (spec.channels, spec.height, spec.width) != tuple(x.shape[1:]):
        raise InputError(
            f"{what} {name} takes images of {spec.channels} x {spec.height} x {spec.width}, the explained one "
            f"{' x '.join(map(str, x.shape[1:]))}: name one of the same input size"
        )
    return classifier


@lru_cache(maxsize=8)
def _load(name: str) -> Classifier:
    from whywrong.models.zoo import load_classifier  # timm and torchvision wait until somebody is named

    return load_classifier(name)
