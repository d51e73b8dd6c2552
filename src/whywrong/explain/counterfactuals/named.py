"""Judges and auxiliary models named by a setting.

Each is loaded once, on the device of the explained classifier.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from whywrong.core.errors import InputError, ModelError
from whywrong.doors.named_models import KeptModels
from whywrong.explain.counterfactuals.guidance import Way, check_auxiliary
from whywrong.explain.counterfactuals.judges import check_judges
from whywrong.explain.counterfactuals.objectives import ClassObjective
from whywrong.models.classifier import Classifier

_Shape = tuple[int, int, int]


def named_judges(names: Sequence[str], x: Tensor, classifier: Classifier) -> tuple[Classifier, ...]:
    """Load classifiers by name as ``load_classifier`` does.

    See :func:`whywrong.models.loading.zoo.load_classifier`.

    Args:
        names: Names such as ``nets.py:robust`` or ``planted:cnn-robust``; they refer to code or weights of the caller.
        x: (B, C, H, W), the images they will judge.
        classifier: The explained one; they are loaded on its device, in its precision.

    Raises:
        InputError: The model is unknown, or takes images of another size.
        ModelError: It cannot be loaded.
    """
    return tuple(_fitting(name, _shape(x), "judge", classifier) for name in names)


def named_helper(name: str, x: Tensor, classifier: Classifier) -> Classifier:
    """Load the auxiliary classifier of a guided search by name.

    See :func:`named_judges`.

    It is tested once, on one grey image: a gradient must reach the pixels.

    Raises:
        InputError: As for :func:`named_judges`, or no gradient reaches the pixels.
    """
    return _helper(name, _shape(x), classifier)


def check_named(classifier: Classifier, aux: str, judges: Sequence[str], shape: _Shape) -> None:
    """Refuse names of unsuitable models before anything is computed.

    Args:
        classifier: The explained one.
        aux: Name of the auxiliary classifier; empty for none.
        judges: Names of the judges.
        shape: (C, H, W) of the images.

    Raises:
        InputError, AccessError: The model is unknown, has another input size, other classes or no gradient, or already
            has another role.
        ModelError: It cannot be loaded.
    """
    helper = _helper(aux, shape, classifier) if aux else None
    if helper is not None:
        check_auxiliary(classifier, helper)
    check_judges(classifier, [_fitting(name, shape, "judge", classifier) for name in judges], helper)


def helper_words(name: str, way: Way, angle: float) -> str:
    """Describe how an auxiliary classifier guided a search, for the report."""
    if way == "cone":
        return f"{name} turned the gradients toward its own, by at most {angle:g} degrees"
    return f"{name} had half a say: the average of both probabilities was raised"


def _shape(x: Tensor) -> _Shape:
    channels, height, width = x.shape[1:]
    return channels, height, width


def _fitting(name: str, shape: _Shape, what: str, beside: Classifier) -> Classifier:
    classifier = _KEPT.model(name, beside)
    spec = classifier.preprocess
    if spec is not None and (spec.channels, spec.height, spec.width) != shape:
        raise InputError(
            f"{what} {name} takes images of {spec.channels} x {spec.height} x {spec.width}, the explained one "
            f"{' x '.join(map(str, shape))}: name one of the same input size"
        )
    return classifier


def _helper(name: str, shape: _Shape, beside: Classifier) -> Classifier:
    classifier = _fitting(name, shape, "helper", beside)
    if (name, shape) in _KEPT.tried:
        return classifier
    try:
        with classifier:
            ClassObjective(classifier).gradient(torch.full((1, *shape), 0.5), torch.zeros(1, dtype=torch.int64))
    except ModelError as error:  # an error of the named model, not of the explained classifier
        raise InputError(f"helper {name} cannot guide: {error}") from error
    _KEPT.tried.add((name, shape))
    return classifier


_KEPT = KeptModels()
