"""Named architectures of timm and torchvision, with the preprocessing and classes that belong to their names."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from whywrong.core.classes import ClassList
from whywrong.core.errors import EnvironmentFailure, InputError, ModelError
from whywrong.models.loaded import Loaded
from whywrong.models.weights import load_weights

HOW = (
    'pass weights=FILE (safetensors or state dict), weights="pretrained" to let the library download its own, '
    'or weights="random"'
)


def load_timm(name: str, weights: str | None, *, input_size: tuple[int, ...] | None, classes: int | None) -> Loaded:
    """An architecture of timm, by its name there, as in ``resnet50.a1_in1k``.

    Preprocessing is timm's own for the name: the shorter side goes to ``floor(size / crop_pct)`` before the crop.
    Classes are those of the ImageNet subset that the model was trained on.

    Args:
        name: Name, with or without the tag of a training.
        weights: File, ``pretrained`` or ``random`` (seeded, the same at every load).
        input_size: (C, H, W) where it is to differ from timm's.
        classes: K where it is to differ from timm's.

    Raises:
        InputError: No such name, or no weights said.
        ModelError: The weights do not fit, or timm has no preprocessing that we can follow.
        EnvironmentFailure: The download failed.
    """
    import timm
    from timm.data import resolve_model_data_config  # pyright: ignore[reportPrivateImportUsage]

    known = timm.list_models() + timm.list_pretrained()
    if name not in known and name.split(".")[0] not in known:
        raise InputError(_unknown("timm", name, known))
    options: dict[str, Any] = {} if classes is None else {"num_classes": classes}
    if input_size is not None:
        options["in_chans"] = input_size[0]

    def create(**more: Any) -> nn.Module:
        return _download(timm.create_model, name, pretrained=weights == "pretrained", **options, **more)

    module = _create(create, input_size, weights, f"timm:{name}")
    stated = resolve_model_data_config(module)
    size = tuple(input_size or stated["input_size"])
    return Loaded(
        model=module,
        says={
            "input_size": size,
            "resize": _timm_resize(name, size, stated),
            "interpolation": stated["interpolation"],
            "mean": tuple(stated["mean"]) if len(stated["mean"]) == size[0] else None,
            "std": tuple(stated["std"]) if len(stated["std"]) == size[0] else None,
        },
        classes=_timm_classes(module),
        sources=(f"timm:{name}".encode(),),
    )


def _create(create: Any, input_size: tuple[int, ...] | None, weights: str | None, what: str) -> nn.Module:
    """Build an architecture with a fixed input size where it has one, with weights as asked."""
    if weights is None:
        raise InputError(f"{what} says no weights, and nothing is downloaded unasked: {HOW}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if input_size is None:
            module = create()
        else:
            try:
                module = create(img_size=tuple(input_size[1:]))
            except TypeError:  # convolutional nets take any size and know no such option
                module = create()
    if weights not in ("pretrained", "random"):
        load_weights(module, Path(weights))
    return module.eval()


def _timm_resize(name: str, size: tuple[int, ...], stated: dict[str, Any]) -> int | None:
    mode = stated.get("crop_mode", "center")
    if mode == "squash":
        return None  # the whole image is stretched
    if mode != "center" or size[1] != size[2]:
        raise ModelError(
            f'timm:{name} prepares {size[1]} x {size[2]} images with crop mode "{mode}", which is not followed here; '
            "give its preprocessing with a file.py:function"
        )
    return math.floor(size[1] / stated["crop_pct"])


def _timm_classes(module: nn.Module) -> ClassList | None:
    """Names and wnids of the ImageNet subset that a model of timm has as its classes; None if it is none of them."""
    from timm.data import ImageNetInfo, infer_imagenet_subset  # pyright: ignore[reportPrivateImportUsage]

    count, subset = getattr(module, "num_classes", None), infer_imagenet_subset(module)
    if not subset or count is None:
        return None
    info = ImageNetInfo(subset)
    if info.num_classes() != count:
        return None
    return ClassList(tuple(info.index_to_description(i) for i in range(count)), tuple(info.label_names()))


def _torchvision_classes(categories: Sequence[str]) -> ClassList:
    """Categories of a training; with the wnids and synonyms of ImageNet-1k if these are its classes in its order."""
    from timm.data import ImageNetInfo  # pyright: ignore[reportPrivateImportUsage]

    info = ImageNetInfo("imagenet-1k")
    synonyms = [tuple(info.index_to_description(i).split(", ")) for i in range(info.num_classes())]
    same = sum(name in known for name, known in zip(categories, synonyms, strict=False))
    # Two names are torchvision's own: "crane bird" and "maillot tank suit" tell those classes from their namesakes.
    if len(categories) != len(synonyms) or same < len(synonyms) - 2:
        return ClassList(tuple(categories))
    return ClassList(tuple(categories), tuple(info.label_names()), tuple(synonyms))


def load_torchvision(name: str, weights: str | None, *, classes: int | None) -> Loaded:
    """An architecture of torchvision, as ``resnet50`` or, naming a training, ``resnet50.IMAGENET1K_V2``.

    Preprocessing and classes are those of the named training. Without a name the trainings of an architecture must
    agree on the preprocessing; ``pretrained`` takes torchvision's default training.

    Raises:
        InputError: No such name, no weights said, or trainings that disagree.
        ModelError: The weights do not fit.
        EnvironmentFailure: The download failed.
    """
    import torchvision

    name, _, tag = name.partition(".")
    known = torchvision.models.list_models(module=torchvision.models)
    if name not in known:
        raise InputError(_unknown("torchvision", name, known))
    trainings = torchvision.models.get_model_weights(name)
    training = _training(name, tag, trainings, weights)
    options = {} if classes is None else {"num_classes": classes}
    module = _create(lambda: torchvision.models.get_model(name, **options), None, weights, f"torchvision:{name}")
    if weights == "pretrained":
        state = _download(training.get_state_dict, progress=False, check_hash=True, weights_only=True)
        module.load_state_dict(state)
    preset, categories = training.transforms(), training.meta["categories"]
    return Loaded(
        model=module,
        says={
            "input_size": (3, preset.crop_size[0], preset.crop_size[0]),
            "resize": preset.resize_size[0],
            "interpolation": preset.interpolation.value,
            "mean": tuple(preset.mean),
            "std": tuple(preset.std),
        },
        classes=_torchvision_classes(categories) if classes in (None, len(categories)) else None,
        sources=(f"torchvision:{name}".encode(),),
    )


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


def _download(get: Any, *args: Any, **options: Any) -> Any:
    try:
        return get(*args, **options)
    except OSError as error:
        raise EnvironmentFailure(f"pretrained weights could not be fetched: {error}") from error


def _unknown(library: str, name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f'{library} has no model "{name}"' + (f'; nearest: "{near[0]}"' if near else "")
