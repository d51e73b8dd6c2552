"""Load architectures of timm, with the preprocessing and classes of their names."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from torch import nn

from whywrong.core.classes import ClassList
from whywrong.core.errors import InputError, ModelError
from whywrong.models.loading.libraries import LIBRARY_WEIGHTS, create_module, download, unknown_name
from whywrong.models.loading.loaded import Loaded, ModelRequest
from whywrong.models.weights.files import load_weights

_LARGEST_EMBEDDING = 2048  # numbers; timm has no training on so few classes beside the subsets of ImageNet it names


def load_timm(request: ModelRequest) -> Loaded:
    """Build an architecture of timm by its name, such as ``resnet50.a1_in1k``.

    Preprocessing is timm's own for the name; the shorter side is resized to ``floor(size / crop_pct)`` before the crop.
    Classes are those of the ImageNet subset that the model was trained on.

    Args:
        request: Its name may include the tag of a training; weights are a file, ``pretrained`` or ``random`` (seeded,
            the same at every load); input size and number of classes may differ from timm's.

    Raises:
        InputError: The name is unknown, weights are missing, or a backbone has no classifier and no classes were given.
        ModelError: The weights do not fit, or timm's preprocessing is not supported.
        EnvironmentFailure: The download failed.
    """
    import timm
    from timm.data import resolve_model_data_config  # pyright: ignore[reportPrivateImportUsage]

    name, weights, classes, input_size = request.name, request.weights, request.classes, request.given.get("input_size")
    known = timm.list_models() + timm.list_pretrained()
    if name not in known and name.split(".")[0] not in known:
        raise InputError(unknown_name("timm", name, known))
    plain, _, tag = name.partition(".")
    if tag and tag not in _tags(plain):
        raise InputError(f"timm:{plain} has no training {tag}; there are: {', '.join(_tags(plain)) or 'none'}")
    _check_head(name, weights, classes)
    options: dict[str, Any] = {} if classes is None else {"num_classes": classes}
    if input_size is not None:
        options["in_chans"] = input_size[0]

    def create(**more: Any) -> nn.Module:
        return download(timm.create_model, name, pretrained=weights == "pretrained", **options, **more)

    module = create_module(create, input_size, weights, f"timm:{name}")
    notes = () if weights in LIBRARY_WEIGHTS else load_weights(module, Path(str(weights)), key=request.weights_key)
    stated = resolve_model_data_config(module)
    return Loaded(
        model=module,
        says=_says(f"timm:{name}", tuple(input_size or stated["input_size"]), stated),
        classes=_classes(module),
        sources=(f"timm:{name}".encode(),),
        notes=(*notes, *_assumed_training(name, weights, stated)),
    )


def stated_by_timm(module: nn.Module) -> tuple[dict[str, Any], ClassList | None]:
    """Read the preprocessing and classes of a module built by timm.

    Preprocessing is by the names in ``SPEC_FIELDS``.

    Raises:
        ModelError: Its preprocessing is not supported.
    """
    from timm.data import resolve_model_data_config  # pyright: ignore[reportPrivateImportUsage]

    stated = resolve_model_data_config(module)
    name = str(dict(module.pretrained_cfg).get("architecture") or type(module).__name__)  # type: ignore[arg-type]
    return _says(f"timm {name}", tuple(stated["input_size"]), stated), _classes(module)


def _says(what: str, size: tuple[int, ...], stated: dict[str, Any]) -> dict[str, Any]:
    return {
        "input_size": size,
        "resize": _resize(what, size, stated),
        "interpolation": stated["interpolation"],
        "mean": tuple(stated["mean"]) if len(stated["mean"]) == size[0] else None,
        "std": tuple(stated["std"]) if len(stated["std"]) == size[0] else None,
    }


def _check_head(name: str, weights: str | None, classes: int | None) -> None:
    """Refuse outputs that are features, from a training without classes or an embedding of images and texts."""
    from timm.data import infer_imagenet_subset  # pyright: ignore[reportPrivateImportUsage]
    from timm.models import get_pretrained_cfg

    stated = get_pretrained_cfg(name, allow_unregistered=True)
    own = stated.num_classes if stated is not None else None
    if weights == "pretrained" and classes is not None and own != classes:
        raise InputError(
            f"the pretrained weights of timm:{name} have {own or 'no'} classes, {classes} were given: their classifier "
            "would be drawn at random; pass the weights that were trained on these classes as weights=FILE"
        )
    embeds = own is not None and own <= _LARGEST_EMBEDDING and infer_imagenet_subset({"num_classes": own}) is None
    if classes is None and embeds:
        what = f"the embedding of {own} numbers" if own else "its features"
        plain, tags = name.split(".")[0], _tags(name)
        better = [
            f"timm:{plain}.{tag}"
            for tag, cfg in tags.items()
            if infer_imagenet_subset({"num_classes": cfg.num_classes})
        ]
        hint = f" Trainings with a classifier: {', '.join(better[:3])}." if better else ""
        raise InputError(
            f"timm:{name} is a backbone without a classifier: it returns {what}, which are no classes.{hint} For a "
            "classifier that you trained on top of it, pass its classes and its weights (--classes, --weights)"
        )


def _tags(name: str) -> dict[str, Any]:
    from timm.models import get_arch_pretrained_cfgs

    return {full.partition(".")[2]: cfg for full, cfg in get_arch_pretrained_cfgs(name.split(".")[0]).items()}


def _assumed_training(name: str, weights: str | None, stated: dict[str, Any]) -> list[str]:
    """Note which training was assumed if the name leaves it open and the trainings prepare images differently."""
    if weights in LIBRARY_WEIGHTS or "." in name:
        return []
    others = [cfg for cfg in _tags(name).values() if cfg.num_classes]
    parts = {
        "mean and std": {(tuple(cfg.mean), tuple(cfg.std)) for cfg in others},
        "crop": {(cfg.crop_pct, cfg.crop_mode, cfg.input_size) for cfg in others},
        "interpolation": {cfg.interpolation for cfg in others},
    }
    differing = [part for part, values in parts.items() if len(values) > 1]
    if not differing:
        return []
    return [
        f"timm has several trainings of {name}, which differ in {', '.join(differing)}; images are prepared as for "
        f"its default (input {stated['input_size'][1]}, crop {stated['crop_pct']}, {stated['interpolation']}, mean "
        f"{_plain(stated['mean'])}, std {_plain(stated['std'])}); name the training, as timm:{name}.TAG, if the "
        "weights come from another"
    ]


def _plain(values: Any) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _resize(what: str, size: tuple[int, ...], stated: dict[str, Any]) -> int | None:
    mode = stated.get("crop_mode", "center")
    if mode == "squash":
        return None  # the whole image is stretched
    if mode != "center" or size[1] != size[2]:
        raise ModelError(
            f'{what} prepares {size[1]} x {size[2]} images with crop mode "{mode}", which is not followed here; '
            "give its preprocessing with a file.py:function"
        )
    return math.floor(size[1] / stated["crop_pct"])


def _classes(module: nn.Module) -> ClassList | None:
    """Return names and wnids of the ImageNet subset that a timm model has as its classes; None for other classes."""
    from timm.data import ImageNetInfo, infer_imagenet_subset  # pyright: ignore[reportPrivateImportUsage]

    count, subset = getattr(module, "num_classes", None), infer_imagenet_subset(module)
    if not subset or count is None:
        return None
    info = ImageNetInfo(subset)
    if info.num_classes() != count:
        return None
    return ClassList(tuple(info.index_to_description(i) for i in range(count)), tuple(info.label_names()))
