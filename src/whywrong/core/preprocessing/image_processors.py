"""The preprocessing of a Hugging Face image processor; transformers itself is not imported."""

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
        given: What its owner states elsewhere, by names of ``InputSpec`` and ``input_size``; it counts first.

    Raises:
        InputError: It prepares images in a way that is not followed here; the message says what to pass.
    """
    kind, said = type(processor).__name__, {k: v for k, v in (given or {}).items() if v is not None}
    settings = {
        **processor.to_dict(),
        **{k: getattr(processor, k) for k in ("size", "crop_size") if hasattr(processor, k)},
    }
    size, crop = _plain(settings.get("size")), _plain(settings.get("crop_size"))
    factor = settings.get("rescale_factor", 1 / 255) if settings.get("do_rescale", True) else 1.0
    if settings.get("do_flip_channel_order") or settings.get("rescale_offset") or abs(255 * factor - 1) > 1e-3:
        raise InputError(
            f"the image processor {kind} changes the order of the channels or does not scale images to [0, 1]; load "
            "the model in a file.py:function that does so itself"
        )
    resize: int | None = None
    short = size.get("shortest_edge")
    box: tuple[Any, Any] = (size.get("height"), size.get("width"))
    if not settings.get("do_resize"):
        box = (None, None)
    elif settings.get("crop_pct") and short:  # of ConvNeXT: no crop from 384 pixels on
        box, resize = (short, short), None if short >= 384 else int(short / settings["crop_pct"])
    elif settings.get("do_center_crop") and crop:
        box, resize = (crop.get("height"), crop.get("width")), short or (box[0] if box == box[::-1] else None)
    if said.get("input_size") is not None:
        box = tuple(said["input_size"][1:])
    if None in box:
        raise InputError(
            f"the image processor {kind} does not bring images to one size ({size or 'no size'}); pass --input-size "
            "224 and --resize (input_size=(3, 224, 224), resize=256 in Python)"
        )
    normalise = settings.get("do_normalize")
    spec = InputSpec(
        height=box[0],
        width=box[1],
        resize=(said["resize"] or None) if "resize" in said else resize,
        interpolation=said.get("interpolation") or Image.Resampling(settings.get("resample") or 2).name.lower(),
        mean=_numbers(settings["image_mean"]) if normalise else None,
        std=_numbers(settings["image_std"]) if normalise else None,
    )
    if not said and not agrees(spec, lambda image: processor(image, return_tensors="np")["pixel_values"][0]):
        raise InputError(
            f"the image processor {kind} prepares images in a way that is not followed here (resize {size}, crop "
            f"{crop or 'none'}); pass the nearest with --input-size, --resize, --mean and --std (input_size=(3, 224, "
            "224), resize=256, mean=..., std=... in Python)"
        )
    return spec


def is_image_processor(value: Any) -> bool:
    """Whether a value is an image processor of transformers, which need not be imported."""
    return any(base.__name__ in ("BaseImageProcessor", "ImageProcessingMixin") for base in type(value).__mro__)


def _plain(value: Any) -> dict[str, int]:
    """A size of a processor as a dictionary without empty entries; a single number is a square."""
    if isinstance(value, int):
        return {"height": value, "width": value}
    return {k: int(v) for k, v in dict(value).items() if v is not None} if value else {}


def _numbers(values: Any) -> tuple[float, ...]:
    numbers = tuple(map(float, values)) if isinstance(values, (tuple, list)) else (float(values),)
    return numbers * 3 if len(numbers) == 1 else numbers
