"""Confirm on a trial image a preprocessing that was read from settings.

Names alone prove nothing: the spec is computed with Pillow and compared with the output of the transform or image
processor, so that a step that was misread, skipped or added is noticed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from whywrong.core.input_spec import InputSpec

_FAR = 0.02  # mean difference of values in [0, 1]; Pillow and torch differ by less than a third of it
_TRIAL = (150, 200)  # height and width of the trial image; not square, so that a stretch is noticed


def agrees(spec: InputSpec, prepare: Callable[[Image.Image], Any]) -> bool:
    """Compare a spec with the output of a user's function on a trial image.

    Args:
        spec: The preprocessing read from the function.
        prepare: The function; it converts an RGB image to an array or tensor (C, H, W) or (1, C, H, W).

    Returns:
        Whether they agree; False if the function raises or returns another shape.
    """
    image = _trial_image()
    try:
        answer = np.asarray(prepare(image), dtype=np.float64)
    except Exception:  # noqa: BLE001 - the user's code may raise anything; then nothing is confirmed
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
    """Resize and crop an image with Pillow to (C, H, W) in [0, 1]."""
    image = image.convert("L") if spec.channels == 1 else image
    size = (spec.width, spec.height)
    if spec.resize is not None:
        short = min(image.size)
        size = (int(spec.resize * image.width / short), int(spec.resize * image.height / short))
    image = image.resize(size, Image.Resampling[spec.interpolation.upper()])
    left, top = round((size[0] - spec.width) / 2), round((size[1] - spec.height) / 2)
    image = image.crop((left, top, left + spec.width, top + spec.height))
    return np.atleast_3d(np.asarray(image)).transpose(2, 0, 1) / 255
