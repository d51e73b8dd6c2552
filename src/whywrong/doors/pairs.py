"""Open a model and its data together, so that each can supply missing facts about the other."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from whywrong.core.data_facts import DataFacts
from whywrong.core.errors import InputError
from whywrong.core.input_spec import InputSpec
from whywrong.data.batches import load_images
from whywrong.data.objects.opening import open_any
from whywrong.data.objects.pixels import Scale
from whywrong.data.sources import Source
from whywrong.models.classifier import Classifier, need_classifier
from whywrong.models.loading.objects import is_model_object, load_object, stated_normalisation


def open_model(model: Any, facts: DataFacts | None = None) -> Classifier:
    """Wrap a module or pipeline in a classifier.

    A classifier is returned unchanged.

    Args:
        model: ``Classifier``, ``nn.Module`` of any library, or transformers pipeline for image classification.
        facts: Facts that the data set states about the model input.

    Raises:
        InputError: The type of ``model`` is not supported, or a required fact is stated nowhere.
    """
    return load_object(model, data=facts) if is_model_object(model) else need_classifier(model)


def check_model(model: Any) -> None:
    """Refuse a value that cannot be wrapped in a classifier.

    Raises:
        InputError: The value is not a model; the message says how to build a classifier.
    """
    if not is_model_object(model):
        need_classifier(model)


def open_pair(model: Any, data: Any, **reading: Any) -> tuple[Classifier, Source]:
    """Open a model and its data, using the facts that each states about the other.

    Args:
        model: As for :func:`open_model`.
        data: As for :func:`whywrong.data.objects.opening.open_any`.
        reading: As for :func:`whywrong.data.objects.opening.open_any`.
    """
    check_model(model)  # before the data are scanned
    source = open_any(data, model_scale=_scale_of(model), **reading)
    classifier = open_model(model, source.facts)
    if classifier is model and _differ(classifier.preprocess, source.facts):
        remark = "images are prepared as the classifier says; the transform of the data set, which differs, is not used"
        source.facts = replace(source.facts, remarks=(*source.facts.remarks, remark))
    return classifier, source


def _differ(spec: InputSpec | None, facts: DataFacts) -> bool:
    """Return whether a classifier prepares images differently from the transform of the data."""
    if spec is None or (facts.spec is None and facts.mean is None):
        return False
    if facts.spec is not None:
        return facts.spec != spec
    return (facts.mean, facts.std) != (spec.mean, spec.std)


def input_spec(classifier: Classifier, source: Source) -> InputSpec:
    """Return the input size and preprocessing of a classifier.

    If the classifier states no input size, the common size of the images is used. Images that the data set has already
    resized and cropped for the model are not resized again.

    Raises:
        InputError: The input size is not known.
    """
    spec, facts = classifier.preprocess, source.facts
    if spec is not None:
        ready = facts.prepared and facts.size is not None and facts.size[1:] == (spec.height, spec.width)
        return replace(spec, resize=None) if ready else spec
    if facts.size is not None:
        channels, height, width = facts.size
        return InputSpec(channels=channels, height=height, width=width)
    if source.spec.kind == "arrays":
        return load_images(source).spec
    raise InputError(
        "the input size of the classifier is not known; give --input-size 224, or whywrong.load_classifier(model, "
        "input_size=(3, 224, 224)) in Python"
    )


def _scale_of(model: Any) -> Scale | None:
    if isinstance(model, Classifier):
        spec = model.preprocess
        return None if spec is None or spec.mean is None else Scale(spec.mean, spec.std)
    mean, std = stated_normalisation(model)
    return None if mean is None else Scale(mean, std)
