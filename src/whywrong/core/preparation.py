"""The preprocessing of a transform or image processor, read from its settings and confirmed by calling it.

Nothing is assumed from names alone: what was read is computed with Pillow on a trial image and compared with the answer
of the object itself, so that a step that was misread, skipped or added shows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from PIL import Image

from whywrong.core.errors import InputError
from whywrong.core.input_spec import InputSpec

_FAR = 0.02  # mean difference of values in [0, 1]; Pillow and torch resize within a third of it
_TRIAL = (150, 200)  # height and width of the trial image: not square, so that a stretch shows


def agrees(spec: InputSpec, prepare: Callable[[Image.Image], Any]) -> bool:
    """Compare a spec with what a user's function makes of a trial image.

    Args:
        spec: What was read.
        prepare: From an RGB image to values (C, H, W) or (1, C, H, W): an array or tensor.
    """
    image = _trial_image()
    try:
        answer = np.asarray(prepare(image), dtype=np.float64)
    except Exception:  # noqa: BLE001 - the user's code may raise anything; then it confirms nothing
        return False
    answer = answer[0] if answer.ndim == 4 else answer
    if answer.shape != (spec.channels, spec.height, spec.width):
        return False
    if spec.mean is not None and spec.std is not None:
        answer = answer * np.reshape(spec.std, (-1, 1, 1)) + np.reshape(spec.mean, (-1, 1, 1))
    return bool(np.abs(answer - _prepare(image, spec)).mean() < _FAR)


def _trial_image() -> Image.Image:
    rows, columns = np.mgrid[0 : _TRIAL[0], 0 : _TRIAL[1]] / np.array(_TRIAL).reshape(2, 1, 1)
    waves = 0.5 + 0.5 * np.sin(9 * rows * (1 + columns))
    return Image.fromarray((255 * np.stack([rows, columns, waves], 2)).round().astype(np.uint8))


def _prepare(image: Image.Image, spec: InputSpec) -> np.ndarray:
    """Resize and crop an image with Pillow, (C, H, W) in [0, 1]."""
    image = image.convert("L") if spec.channels == 1 else image
    size = (spec.width, spec.height)
    if spec.resize is not None:
        short = min(image.size)
        size = (int(spec.resize * image.width / short), int(spec.resize * image.height / short))
    image = image.resize(size, Image.Resampling[spec.interpolation.upper()])
    left, top = round((size[0] - spec.width) / 2), round((size[1] - spec.height) / 2)
    image = image.crop((left, top, left + spec.width, top + spec.height))
    return np.atleast_3d(np.asarray(image)).transpose(2, 0, 1) / 255


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
