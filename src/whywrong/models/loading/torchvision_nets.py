"""Load architectures of torchvision, built as its own constructors build them for the weights of a training."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from whywrong.core.classes import ClassList
from whywrong.core.errors import InputError
from whywrong.models.loading.libraries import LIBRARY_WEIGHTS, create_module, download, unknown_name
from whywrong.models.loading.loaded import Loaded, ModelRequest
from whywrong.models.weights.files import load_weights

_RESCALING = ("inception_v3", "googlenet")
_AUXILIARY = ("AuxLogits.", "aux1.", "aux2.")  # heads used in training only


def load_torchvision(request: ModelRequest) -> Loaded:
    """Build an architecture of torchvision, such as ``resnet50.IMAGENET1K_V2``.

    The name may also omit the training, such as ``resnet50``; the trainings of the architecture must then agree on the
    preprocessing, and ``pretrained`` takes torchvision's default training. Preprocessing and classes are those of the
    training. Its constructor gets the same options as with trained weights.

    Raises:
        InputError: The name is unknown, weights are missing, or the trainings disagree.
        ModelError: The weights do not fit.
        EnvironmentFailure: The download failed.
    """
    import torchvision

    weights, classes = request.weights, request.classes
    name, _, tag = request.name.partition(".")
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise InputError(unknown_name("torchvision", name, known))
    trainings = torchvision.models.get_model_weights(name)
    training = _training(name, tag, trainings, weights)
    preset, categories = training.transforms(), training.meta["categories"]
    options: dict[str, Any] = {} if classes is None else {"num_classes": classes}
    notes: tuple[str, ...] = ()
    if weights == "pretrained":
        if classes not in (None, len(categories)):
            raise InputError(
                f"the pretrained weights of torchvision:{name} have {len(categories)} classes, {classes} were given; "
                "pass the weights that were trained on these classes as weights=FILE"
            )
        options["weights"] = training
    elif weights != "random":
        more, notes = _as_trained(name, training)
        options |= more
    module = create_module(
        lambda: download(torchvision.models.get_model, name, progress=False, **options), None, weights,
        f"torchvision:{name}",
    )  # fmt: skip
    if weights not in LIBRARY_WEIGHTS:
        optional = _AUXILIARY if name in _RESCALING else ()
        notes += load_weights(module, Path(str(weights)), key=request.weights_key, optional=optional, rename=_today)
    return Loaded(
        model=module,
        says={
            "input_size": (3, preset.crop_size[0], preset.crop_size[0]),
            "resize": preset.resize_size[0],
            "interpolation": preset.interpolation.value,
            "mean": tuple(preset.mean),
            "std": tuple(preset.std),
        },
        classes=classes_of_training(categories) if classes in (None, len(categories)) else None,
        sources=(
            f"torchvision:{name}".encode(),
            *([b"transform_input"] if getattr(module, "transform_input", 0) else []),
        ),
        notes=notes,
    )


def classes_of_training(categories: Sequence[str]) -> ClassList:
    """Return the classes of a training.

    Wnids and synonyms are added if they are the classes of ImageNet-1k in its order.
    """
    from timm.data import ImageNetInfo  # pyright: ignore[reportPrivateImportUsage]

    info = ImageNetInfo("imagenet-1k")
    synsets = [info.index_to_description(i) for i in range(info.num_classes())]
    same = sum(name in synset.split(", ") for name, synset in zip(categories, synsets, strict=False))
    # Two names are torchvision's own: "crane bird" and "maillot tank suit" tell those classes from their namesakes.
    if len(categories) != len(synsets) or same < len(synsets) - 2:
        return ClassList(tuple(categories))
    return ClassList(tuple(categories), tuple(info.label_names()), tuple((synset,) for synset in synsets))


def _as_trained(name: str, training: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the options that a torchvision constructor sets itself if it gets the weights of a training."""
    if name in _RESCALING:
        note = (
            f"torchvision:{name} rescales its input as for {training.name} (transform_input=True); for weights trained "
            "without that, build the model in a file.py:function"
        )
        return {"transform_input": True, "aux_logits": False, "init_weights": False}, (note,)
    if name.startswith("vit_"):
        return {"image_size": training.meta["min_size"][0]}, ()
    return {}, ()


def _today(name: str) -> str:
    """Return the current name of a weight; published DenseNets still have dots inside the names of layers."""
    return re.sub(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)", r"\1\2", name)


def _training(name: str, tag: str, trainings: Any, weights: str | None) -> Any:
    names = list(trainings.__members__)
    if tag:
        if tag not in names:
            raise InputError(f"torchvision:{name} has no training {tag}; there are: {', '.join(names)}")
        return trainings[tag]
    if weights in ("pretrained", "random") or len({repr(t.transforms()) for t in trainings}) == 1:
        return trainings.DEFAULT
    raise InputError(
        f"torchvision prepares images for {name} in several ways; say which training the weights come from: "
        + ", ".join(f"torchvision:{name}.{n}" for n in names)
    )
