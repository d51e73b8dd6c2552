"""Load models given as Python objects, modules of torch, torchvision, timm and transformers, and pipelines."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from whywrong.core.classes import ClassList
from whywrong.core.data_facts import DataFacts
from whywrong.core.errors import InputError
from whywrong.core.input_spec import InputSpec
from whywrong.core.preprocessing.image_processors import is_image_processor, read_image_processor
from whywrong.core.preprocessing.transforms import is_transform, require_spec
from whywrong.models.classifier import Classifier
from whywrong.models.kinds import unwrap
from whywrong.models.loading.attributes import settle_normalisation, stated_preprocessing
from whywrong.models.loading.loaded import SPEC_FIELDS
from whywrong.models.loading.one_score import settle_output

_MEAN_STD = "mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated:
    """Preprocessing that a model states, where it was read, and why a normalisation is missing."""

    model: Any
    title: str
    says: Mapping[str, Any]
    classes: ClassList | None = None
    by_attributes: bool = False
    missing: str | None = None
    notes: tuple[str, ...] = ()


def is_model_object(value: Any) -> bool:
    """Return whether a value is a module, or a pipeline of transformers with one."""
    return isinstance(value, nn.Module) or _is_pipeline(value)


def load_object(
    model: Any,
    *,
    preprocess: Any = None,
    data: DataFacts | None = None,
    given: Mapping[str, Any] | None = None,
    **options: Any,
) -> Classifier:
    """Wrap a module or pipeline as a classifier.

    Its input is settled from, in this order, ``given``, the transform of the data, what the model states, and the size
    of the images. The module is neither moved nor changed, and runs in this process only.

    Args:
        model: ``nn.Module`` or image-classification pipeline.
        preprocess: Image processor, transform, torchvision weights or ``InputSpec`` of the model.
        data: Facts that the data set states.
        given: Values by the names in ``SPEC_FIELDS``; None or absent if not given.
        options: ``classes``, ``access``, ``output``, ``device``, ``precision`` and ``batch_size`` of
            :class:`Classifier`.

    Raises:
        InputError: A needed fact is stated nowhere; the message names the argument to pass.
    """
    data, given = data or DataFacts(), {k: v for k, v in (given or {}).items() if v is not None}
    stated = _stated(model, preprocess, given)
    if options.get("classes") is None:
        options["classes"] = stated.classes
    spec, notes = _settle(stated, data, given)
    if spec is not None and stated.by_attributes and "mean" not in given and data.mean is None:
        spec, more = settle_normalisation(stated.model, spec)
        notes += more
    output, more = options.pop("output", None), []
    if spec is not None:
        output, more = settle_output(stated.model, output, spec)
    output = output or "logits"
    options = {name: value for name, value in options.items() if value is not None}
    classifier = Classifier(stated.model, preprocess=spec, output=output, **options)
    classifier.notes = (*stated.notes, *notes, *more)
    classifier.title = stated.title
    return classifier


def _settle(stated: Stated, data: DataFacts, given: Mapping[str, Any]) -> tuple[InputSpec | None, list[str]]:
    """Settle the input of a model from the user, the data and the model, in this order; and return notes on it.

    Raises:
        InputError: The model needs a normalisation that nobody states.
    """
    of_model, of_data = dict(stated.says), _by_data(stated, data)
    notes = _differences(of_model, of_data)
    transformed = data.prepared or data.spec is not None
    says = {"input_size": data.size, **_known(of_model), **of_data, **given}
    if "mean" in given and not len(given["mean"]) and "std" not in given:
        says["std"] = None  # disabled together
    if stated.missing is not None and says.get("mean") is None and not transformed:
        raise InputError(stated.missing)
    if says["input_size"] is None:
        return None, notes
    spec = _spec(says)
    if spec.mean is None and not transformed:
        notes.append("nothing states a normalisation: the model is given images in [0, 1]")
    if spec.mean is not None and transformed and not {"mean"} & (of_data.keys() | given.keys()):
        notes.append("the data set does not normalise its images; the normalisation that the model states is applied")
    return spec, notes


def _by_data(stated: Stated, data: DataFacts) -> dict[str, Any]:
    """Return how the data set prepares an image, by ``SPEC_FIELDS``.

    If it does not normalise, nothing is concluded from that.
    """
    said = _known(_fields(data.spec)) | {"resize": data.spec.resize} if data.spec is not None else {}
    if data.prepared and data.size is not None:
        channels = (stated.says.get("input_size") or data.size)[0]  # a model with three channels accepts grey
        said = {"input_size": (channels, *data.size[1:]), "resize": None, "interpolation": "bilinear"}
    return said | ({} if data.mean is None else {"mean": data.mean, "std": data.std})


def _differences(of_model: Mapping[str, Any], of_data: Mapping[str, Any]) -> list[str]:
    differing = [n for n, v in of_data.items() if v is not None and of_model.get(n) and not _same(v, of_model[n])]
    listed = ", ".join(f"{name} {of_data[name]} instead of {of_model[name]}" for name in differing)
    return [f"images are prepared as the data set does, not as the model states: {listed}"] if differing else []


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _spec(says: Mapping[str, Any]) -> InputSpec:
    channels, height, width = (int(value) for value in says["input_size"])
    mean, std = (tuple(map(float, says.get(name) or ())) or None for name in ("mean", "std"))
    if mean is not None and std is not None and len(mean) == 1 and channels == 3:
        mean, std = mean * 3, std * 3
    return InputSpec(
        channels=channels,
        height=height,
        width=width,
        resize=int(says["resize"]) if says.get("resize") else None,
        interpolation=says.get("interpolation") or "bilinear",
        mean=mean,
        std=std,
    )


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, (tuple, list)):
        return len(one) == len(other) and all(abs(a - b) < 1e-3 for a, b in zip(one, other, strict=True))
    return one == other


def _fields(spec: InputSpec) -> dict[str, Any]:
    return {
        "input_size": (spec.channels, spec.height, spec.width),
        **{name: getattr(spec, name) for name in SPEC_FIELDS[1:]},
    }


def _stated(model: Any, preprocess: Any, given: Mapping[str, Any]) -> Stated:
    """Read what a model states about its input, in the way of its library."""
    if _is_pipeline(model):
        preprocess = model.image_processor if preprocess is None else preprocess
        model = model.model
    inner = unwrap(model)
    library = {base.__module__.partition(".")[0] for base in type(inner).__mro__}
    title = _title(inner)
    if preprocess is not None:
        says = _fields(read_preprocess(preprocess, given))
        return Stated(model=model, title=title, says=says, classes=_classes_of_weights(preprocess))
    if "transformers" in library and hasattr(inner, "config"):
        processor = find_image_processor(str(getattr(inner.config, "name_or_path", "") or ""))
        return stated_by_transformers(model, processor, given)
    config = getattr(inner, "pretrained_cfg", None)
    if isinstance(config, Mapping) and config.get("mean") is not None:
        from whywrong.models.loading.timm_nets import stated_by_timm

        says, classes = stated_by_timm(inner)
        return Stated(model=model, title=title, says=says, classes=classes)
    if type(inner).__module__.startswith("torchvision.models"):
        missing = (
            f"{title} does not carry its preprocessing: pass that of its training, as whywrong.load_classifier(model, "
            f"preprocess=torchvision.models.ResNet50_Weights.DEFAULT), or {_MEAN_STD}; mean=() if it takes images in "
            "[0, 1]"
        )
        return Stated(model=model, title=title, says={}, missing=missing)
    says, notes = stated_preprocessing(model, given)
    return Stated(model=model, title=title, says=says, by_attributes=True, notes=tuple(notes))


def read_preprocess(value: Any, given: Mapping[str, Any] | None = None) -> InputSpec:
    """Read a preprocessing in any form that libraries use.

    Args:
        value: ``InputSpec``, image processor of transformers, transform or weights of torchvision.
        given: What the user states elsewhere.

    Raises:
        InputError: It is none of these, or holds a step that is not supported.
    """
    if isinstance(value, InputSpec):
        return value
    if is_image_processor(value):
        return read_image_processor(value, given)
    if hasattr(value, "transforms") and hasattr(value, "meta"):  # an entry of torchvision's weights
        return require_spec(value.transforms())
    if is_transform(value):
        return require_spec(value)
    raise InputError(
        "preprocess must be an image processor, a transform or weights of torchvision, or whywrong.InputSpec("
        f"height=224, width=224, resize=256, mean=(...), std=(...)), got {type(value).__name__}"
    )


def _classes_of_weights(preprocess: Any) -> ClassList | None:
    """Return the classes of a torchvision weights entry; None for any other preprocessing."""
    categories = getattr(preprocess, "meta", {}).get("categories") if hasattr(preprocess, "transforms") else None
    if categories is None:
        return None
    from whywrong.models.loading.torchvision_nets import classes_of_training

    return classes_of_training(categories)


def stated_by_transformers(model: Any, processor: Any, given: Mapping[str, Any]) -> Stated:
    """Read the stated input of a model of transformers and its image processor.

    The processor may be None.
    """
    inner = unwrap(model)
    title = _title(inner)
    of_timm: Any = getattr(inner, "timm_model", None)
    if of_timm is not None:  # for such a model, transformers stores the preprocessing here
        from whywrong.models.loading.timm_nets import stated_by_timm

        return Stated(model=model, title=title, says=stated_by_timm(of_timm)[0])
    if processor is not None:
        return Stated(model=model, title=title, says=_fields(read_image_processor(processor, given)))
    size = getattr(inner.config, "image_size", None)
    sides = (size, size) if isinstance(size, int) else tuple(size) if isinstance(size, (tuple, list)) else None
    says = {} if sides is None else {"input_size": (getattr(inner.config, "num_channels", 3), *sides)}
    missing = (
        f"{title} does not carry its image processor: pass it, as whywrong.load_classifier(model, "
        f"preprocess=processor), or {_MEAN_STD}"
    )
    return Stated(model=model, title=title, says=says, missing=missing)


def find_image_processor(name: str, *, local: bool = True) -> Any:
    """Find the image processor saved with a model of transformers.

    Returns None if there is none.

    Args:
        name: Folder or name of the model.
        local: Search this machine only.
    """
    if not name:
        return None
    from transformers import AutoImageProcessor

    if os.path.isdir(name) and not os.path.isfile(os.path.join(name, "preprocessor_config.json")):
        return None
    try:
        return AutoImageProcessor.from_pretrained(name, local_files_only=local, trust_remote_code=False)
    except (OSError, ValueError):  # not in the cache
        return None


def _title(module: Any) -> str:
    return f"{type(module).__module__.partition('.')[0]} {type(module).__name__}".removeprefix("__main__ ")


def _is_pipeline(value: Any) -> bool:
    return any(base.__name__ == "ImageClassificationPipeline" for base in type(value).__mro__)


def stated_normalisation(model: Any) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
    """Read the mean and std that a module or pipeline states.

    Returns None for each if not stated.
    """
    says = _stated(model, None, {}).says
    mean, std = says.get("mean"), says.get("std")
    return (None, None) if not mean or not std else (tuple(map(float, mean)), tuple(map(float, std)))
