"""Judges and helpers that a setting names, so that a run can ask them: each is loaded once in a process."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from whywrong.core.errors import InputError, ModelError
from whywrong.explain.counterfactuals.guidance import Way, check_auxiliary
from whywrong.explain.counterfactuals.judges import check_judges
from whywrong.explain.counterfactuals.objectives import ClassObjective
from whywrong.models.classifier import Classifier

_Shape = tuple[int, int, int]


def named_judges(names: Sequence[str], x: Tensor) -> tuple[Classifier, ...]:
    """Classifiers as :func:`whywrong.models.zoo.load_classifier` reads them.

    Args:
        names: As in ``nets.py:robust`` or ``planted:cnn-robust``; what they name is code, or weights, of the caller's.
        x: (B, C, H, W), images that they are to look at as they are.

    Raises:
        InputError: No such model, or one that takes images of another size.
        ModelError: It cannot be loaded.
    """
    return tuple(_fitting(name, _shape(x), "judge") for name in names)


def named_helper(name: str, x: Tensor) -> Classifier:
    """The auxiliary classifier of a guided search, by its name; as :func:`named_judges`.

    It is tried on one grey image, once in a process: a gradient must reach the pixels.

    Raises:
        InputError: As there, or no gradient arrives.
    """
    return _helper(name, _shape(x))


def check_named(classifier: Classifier, aux: str, judges: Sequence[str], shape: _Shape) -> None:
    """Refuse names that cannot serve before anything is computed.

    Args:
        classifier: The explained one.
        aux: Name of the helper; empty is none.
        judges: Names of the judges.
        shape: (C, H, W) of the images.

    Raises:
        InputError, AccessError: No such model, another input size, other classes, no gradient, or a part already taken.
        ModelError: It cannot be loaded.
    """
    helper = _helper(aux, shape) if aux else None
    if helper is not None:
        check_auxiliary(classifier, helper)
    check_judges(classifier, [_fitting(name, shape, "judge") for name in judges], helper)


def helper_words(name: str, way: Way, angle: float) -> str:
    """How a helper led a search, for the report."""
    if way == "cone":
        return f"{name} turned the gradients toward its own, by at most {angle:g} degrees"
    return f"{name} had half a say: the average of both probabilities was raised"


def _shape(x: Tensor) -> _Shape:
    channels, height, width = x.shape[1:]
    return channels, height, width


def _fitting(name: str, shape: _Shape, what: str) -> Classifier:
    classifier = _load(name)
    spec = classifier.preprocess
    if spec is not None and (spec.channels, spec.height, spec.width) != shape:
        raise InputError(
            f"{what} {name} takes images of {spec.channels} x {spec.height} x {spec.width}, the explained one "
            f"{' x '.join(map(str, shape))}: name one of the same input size"
        )
    return classifier


@lru_cache(maxsize=8)
def _helper(name: str, shape: _Shape) -> Classifier:
    classifier = _fitting(name, shape, "helper")
    try:
        with classifier:
            ClassObjective(classifier).gradient(torch.full((1, *shape), 0.5), torch.zeros(1, dtype=torch.int64))
    except ModelError as error:  # the explained classifier is not meant
        raise InputError(f"helper {name} cannot guide: {error}") from error
    return classifier


@lru_cache(maxsize=8)
def _load(name: str) -> Classifier:
    from whywrong.models.zoo import load_classifier  # timm and torchvision wait until somebody is named

    return load_classifier(name)
