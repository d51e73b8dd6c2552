"""Read the preprocessing of a Hugging Face image processor, without importing transformers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from PIL import Image

from whywrong.core.errors import InputError
from whywrong.core.input_spec import InputSpec
from whywrong.core.preprocessing.trial import agrees


def read_image_processor(processor: Any, given: Mapping[str, Any] | None = None) -> InputSpec:
    """Read the preprocessing of a Hugging Face image processor.

    Args:
        processor: The processor.
        given: Values stated elsewhere, by names of ``InputSpec`` and ``input_size``; they take precedence.

    Raises:
        InputError: It prepares images in an unsupported way; the message says what to pass.
    """
    kind, said = type(processor).__name__, {k: v for k, v in (given or {}).items() if v is not None}
    settings = dict(processor.to_dict())
    for name in ("size", "crop_size"):
        settings[name] = _plain(getattr(processor, name, settings.get(name)))
    _check_values(kind, settings)
    box, resize = _geometry(settings)
    if said.get("input_size") is not None:
        box = tuple(said["input_size"][1:])
    if None in box:
        raise InputError(
            f"the image processor {kind} does not bring images to one size ({settings['size'] or 'no size'}); pass "
            "--input-size 224 and --resize (input_size=(3, 224, 224), resize=256 in Python)"
        )
    resample = settings.get("resample")
    normalise = settings.get("do_normalize")
    spec = InputSpec(
        height=box[0],
        width=box[1],
        resize=(said["resize"] or None) if "resize" in said else resize,
        interpolation=said.get("interpolation") or Image.Resampling(2 if resample is None else resample).name.lower(),
        mean=_numbers(settings["image_mean"]) if normalise else None,
        std=_numbers(settings["image_std"]) if normalise else None,
    )
    settled = said.keys() & {"input_size", "resize", "interpolation"}
    if not settled and not agrees(spec, lambda image: processor(image, return_tensors="np")["pixel_values"][0]):
        raise InputError(
            f"the image processor {kind} prepares images in a way that is not followed here (resize {settings['size']}"
            f", crop {settings['crop_size'] or 'none'}); pass the nearest with --input-size and --resize "
            "(input_size=(3, 224, 224), resize=256 in Python)"
        )
    return spec


def _check_values(kind: str, settings: Mapping[str, Any]) -> None:
    """Check that a processor gives RGB images in [0, 1], normalised or not.

    Raises:
        InputError: The order of channels is reversed, or the values are scaled to another range.
    """
    factor = settings.get("rescale_factor", 1 / 255) if settings.get("do_rescale", True) else 1.0
    if settings.get("do_flip_channel_order") or settings.get("rescale_offset") or abs(255 * factor - 1) > 1e-3:
        raise InputError(
            f"the image processor {kind} changes the order of the channels or does not scale images to [0, 1]; load "
            "the model in a file.py:function that does so itself"
        )


def _geometry(settings: Mapping[str, Any]) -> tuple[tuple[Any, Any], int | None]:
    """Return height and width of the input, None if not fixed, and the shorter side before the crop."""
    size, crop = settings["size"], settings["crop_size"]
    whole, short = (size.get("height"), size.get("width")), size.get("shortest_edge")
    if not settings.get("do_resize"):
        return (None, None), None
    if settings.get("crop_pct") and short:  # ConvNeXT does not crop from 384 pixels on
        return (short, short), None if short >= 384 else int(short / settings["crop_pct"])
    if settings.get("do_center_crop") and crop:
        return (crop.get("height"), crop.get("width")), short or (whole[0] if whole[0] == whole[1] else None)
    return whole, None


def is_image_processor(value: Any) -> bool:
    """Check if a value is an image processor of transformers, without importing it."""
    return any(base.__name__ in ("BaseImageProcessor", "ImageProcessingMixin") for base in type(value).__mro__)


def _plain(value: Any) -> dict[str, int]:
    """Convert a size of a processor to a dictionary without empty entries; a single number is a square."""
    if isinstance(value, int):
        return {"height": value, "width": value}
    return {k: int(v) for k, v in dict(value).items() if v is not None} if value else {}


def _numbers(values: Any) -> tuple[float, ...]:
    numbers = tuple(map(float, values)) if isinstance(values, (tuple, list)) else (float(values),)
    return numbers * 3 if len(numbers) == 1 else numbers
