"""Read the preprocessing of a torchvision transform from its steps, without importing torchvision."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from whywrong.core.errors import InputError
from whywrong.core.input_spec import INTERPOLATIONS, InputSpec
from whywrong.core.preprocessing.trial import agrees

_AS_TENSOR = (
    "ToTensor", "PILToTensor", "MaybeToTensor", "MaybePILToTensor", "ToImage", "ToImageTensor", "ConvertImageDtype",
    "ToDtype", "ToPureTensor", "Identity",
)  # fmt: skip
_RANDOM = (
    "ColorJitter",
    "AutoAugment",
    "TrivialAugmentWide",
    "RandAugment",
    "AugMix",
    "ElasticTransform",
    "MixUp",
    "CutMix",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedTransform:
    """Facts that could be read from a transform.

    Attributes:
        spec: The whole preprocessing, confirmed by calling the transform; None if a step is unknown or no step sets the
            size.
        mean, std: Of its ``Normalize``; None if missing.
        random: Names of the steps that draw random numbers.
    """

    spec: InputSpec | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    random: tuple[str, ...] = ()


def read_transform(transform: Any) -> StatedTransform:
    """Read a transform of torchvision (v1 or v2), of its weights, or of timm.

    Args:
        transform: A step, a ``Compose`` or ``Sequential`` of steps, or None.

    Raises:
        InputError: The transform normalises twice.
    """
    steps = list(_steps(transform))
    names = [type(step).__name__ for step in steps]
    random = tuple(name for name in names if name.startswith("Random") or name in _RANDOM)
    normalising = [step for step in steps if type(step).__name__ == "Normalize" and hasattr(step, "mean")]
    if len(normalising) > 1:
        raise InputError("the transform normalises twice; give a transform with one Normalize")
    mean, std = (_floats(getattr(normalising[0], name)) for name in ("mean", "std")) if normalising else (None, None)
    spec = None if random else _spec(steps, names, mean, std)
    if spec is not None and not agrees(spec, transform):
        spec = None
    mean, std = (spec.mean, spec.std) if spec is not None else (mean, std)
    return StatedTransform(spec=spec, mean=mean, std=std, random=random)


def require_spec(transform: Any) -> InputSpec:
    """Read the whole preprocessing of a transform.

    Raises:
        InputError: A step is unknown or draws random numbers; the message says what to pass.
    """
    stated = read_transform(transform)
    if stated.spec is None:
        why = f"it draws random numbers ({', '.join(stated.random)})" if stated.random else "a step is not known"
        raise InputError(
            f"the preprocessing cannot be read from {type(transform).__name__}, as {why}: state it, as "
            "whywrong.InputSpec(height=224, width=224, resize=256, mean=(...), std=(...))"
        )
    return stated.spec


def is_transform(value: Any) -> bool:
    """Check if a value is a transform of torchvision or timm, or a ``Compose`` of any."""
    return any(
        "transforms" in base.__module__.split(".") and base.__module__.split(".")[0] in ("torchvision", "timm")
        for base in type(value).__mro__
    )


def _steps(transform: Any) -> Iterator[Any]:
    """Yield the single steps of a transform in order."""
    kind = type(transform).__name__
    if transform is None:
        return
    if kind in ("Compose", "Sequential"):
        for step in getattr(transform, "transforms", transform):
            yield from _steps(step)
    else:
        yield transform


def _spec(
    steps: list[Any], names: list[str], mean: tuple[float, ...] | None, std: tuple[float, ...] | None
) -> InputSpec | None:
    resize = crop = preset = None
    channels = 3
    for step, name in zip(steps, names, strict=True):
        if name == "Resize" and resize is None and crop is None and getattr(step, "max_size", None) is None:
            resize = step
        elif name == "CenterCrop" and crop is None:
            crop = _pair(step.size)
        elif name == "ImageClassification" and len(steps) == 1:
            preset = step
        elif name == "Grayscale":
            channels = step.num_output_channels
        elif name not in (*_AS_TENSOR, "Normalize"):
            return None
    if preset is not None:
        size, mean, std, interpolation = (
            preset.crop_size[0],
            _floats(preset.mean),
            _floats(preset.std),
            preset.interpolation,
        )
        box, short = (size, size), preset.resize_size[0]
    elif resize is None:
        return None
    else:
        interpolation, wanted = getattr(resize, "interpolation", None), resize.size
        whole = isinstance(wanted, (tuple, list)) and len(wanted) == 2
        if crop is None and not whole:
            return None  # the longer side is not fixed
        box, short = (_pair(wanted), None) if crop is None else (crop, _short(wanted))
        if crop is not None and short is None:
            return None
    interpolation = str(getattr(interpolation, "value", interpolation)).lower()
    if interpolation not in INTERPOLATIONS or (short is not None and short < max(box)):
        return None
    channels = len(mean) if mean is not None and len(mean) == 1 else channels
    return InputSpec(
        channels=channels, height=box[0], width=box[1], resize=short, interpolation=interpolation, mean=mean, std=std
    )


def _pair(size: Any) -> tuple[int, int]:
    sizes = (size,) if isinstance(size, int) else tuple(size)
    return (int(sizes[0]), int(sizes[-1]))


def _short(size: Any) -> int | None:
    """Return the length of the shorter side; None for a stretch to height and width."""
    sizes = (size,) if isinstance(size, int) else tuple(size)
    return int(sizes[0]) if len(sizes) == 1 else None


def _floats(values: Any) -> tuple[float, ...]:
    values = values.tolist() if hasattr(values, "tolist") else values
    values = values if isinstance(values, (tuple, list)) else (values,)
    return tuple(round(float(value), 6) for value in values)  # float32 tensors give 0.485 as 0.48500001
