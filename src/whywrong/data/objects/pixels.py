"""Read images in the forms that data sets use, as Pillow images, files, arrays and tensors of either layout."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from whywrong.core.errors import BadItemError, InputError
from whywrong.data.colours import to_8bit
from whywrong.data.decoding import DecodeOptions
from whywrong.data.files import path_bytes, read_regular
from whywrong.data.sources.base import judge_image

FILE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm")
_OVERSHOOT = 0.1  # maximum overshoot beyond [0, 1] by smooth resizing of floats
_STEP = 0.02  # grey levels, maximum distance to whole levels of values from 8-bit images

Raw = bytes | np.ndarray
"""An image before its scale is known: the bytes of a file, or (H, W, C) uint8 or float32."""


def is_tensor(value: Any) -> bool:
    """Return whether a value is a torch tensor, without importing torch."""
    return any(base.__module__ == "torch" and base.__name__ == "Tensor" for base in type(value).__mro__)


def is_image(value: Any) -> bool:
    """Return whether a value can be an image, by its type and shape alone."""
    if isinstance(value, np.ndarray) or is_tensor(value):
        return value.ndim >= 2
    if isinstance(value, Mapping):
        return "bytes" in value and "path" in value
    if isinstance(value, (str, os.PathLike)):
        return os.fspath(value).lower().endswith(FILE_ENDINGS)
    return isinstance(value, (Image.Image, bytes, bytearray))


def raw_image(value: Any) -> Raw:
    """Read an image as far as possible without the other images.

    Args:
        value: Pillow image; path or bytes of a file; (H, W), (H, W, C) or (C, H, W) uint8 or float, array or tensor; or
            ``{"bytes", "path"}`` of a Hugging Face data set.

    Raises:
        BadItemError: The value is no such image.
    """
    if isinstance(value, Mapping):
        value = value.get("bytes") if value.get("bytes") is not None else value.get("path")
    if value is None:
        raise BadItemError("the item holds no image")
    if isinstance(value, Image.Image):
        return _rows(np.asarray(to_8bit(value, "image", DecodeOptions(), [])), torch=False)
    if isinstance(value, (str, os.PathLike)):
        path = os.fspath(value)
        return read_regular(path_bytes(path), judge=judge_image(path))
    if isinstance(value, (bytes, bytearray)):
        return bytes(value)
    if is_tensor(value):
        value = value.detach().cpu()
        return _rows((value.float() if value.is_floating_point() else value).numpy(), torch=True)
    if isinstance(value, np.ndarray):
        return _rows(value, torch=False)
    raise BadItemError(f"expected an image, got {type(value).__name__}")


def _rows(array: np.ndarray, *, torch: bool) -> np.ndarray:
    """Return (H, W, C), C = 1 or 3, uint8 or float32, from either layout; if both fit, the library's layout is used."""
    if array.ndim == 4 and len(array) == 1:
        array = array[0]
    if array.ndim == 4:
        raise BadItemError(f"expected one image, got a batch {array.shape}; let the data set yield single images")
    if array.dtype != np.uint8 and array.dtype.kind != "f":
        raise BadItemError(
            f"images of type {array.dtype} have no agreed range; give uint8, or floats in [0, 1]"
            + (" (x / 65535 for 16 bits)" if array.dtype == np.uint16 else "")
        )
    if array.ndim == 2:
        array = array[:, :, None]
    if array.ndim != 3 or 0 in array.shape:
        raise BadItemError(f"expected an image (C, H, W) or (H, W, C), got shape {array.shape}")
    first, last = array.shape[0] in (1, 3), array.shape[2] in (1, 3)
    if not (first or last):
        four = ", an alpha channel is to be dropped" if 4 in (array.shape[0], array.shape[2]) else ""
        raise BadItemError(f"expected 1 or 3 channels, got shape {array.shape}{four}")
    if first and (torch or not last):
        array = array.transpose(1, 2, 0)
    return np.ascontiguousarray(array if array.dtype == np.uint8 else array.astype(np.float32))


def digest(raw: Raw) -> str:
    """Compute 12 hexadecimal digits of a hash of an image's content."""
    hashed = hashlib.sha256(b"file" if isinstance(raw, bytes) else f"{raw.dtype}{raw.shape}".encode())
    hashed.update(raw if isinstance(raw, bytes) else raw.data)
    return hashed.hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Scale:
    """Conversion of float images to values in [0, 1], ``value * std + mean``.

    Attributes:
        mean, std: Normalisation to undo; None if values are already in [0, 1].
        clipped: Whether some values are slightly outside.
    """

    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    clipped: bool = False

    def to_8bit(self, image: np.ndarray) -> np.ndarray:
        """Convert float values to (H, W, C) uint8.

        Raises:
            BadItemError: A value is not finite, or the normalisation has another number of channels.
        """
        if not np.isfinite(image).all():
            raise BadItemError("pixels are NaN or infinite")
        return np.clip(np.rint(255 * self.undo(image)), 0, 255).astype(np.uint8)

    def undo(self, image: np.ndarray) -> np.ndarray:
        """Undo the normalisation of an image.

        Raises:
            BadItemError: The normalisation has another number of channels.
        """
        if self.mean is None or self.std is None:
            return image
        if len(self.mean) not in (1, image.shape[-1]):
            raise BadItemError(f"the normalisation has {len(self.mean)} channels, the image {image.shape[-1]}")
        return image * np.array(self.std, np.float32) + np.array(self.mean, np.float32)


@dataclass(slots=True)
class FloatRange:
    """Smallest and largest values of all float images, and one example image."""

    low: float = np.inf
    high: float = -np.inf
    example: np.ndarray | None = None

    def add(self, image: np.ndarray) -> None:
        """Add one image, of which only finite values count."""
        finite = image[np.isfinite(image)]
        if finite.size:
            self.low, self.high = min(self.low, float(finite.min())), max(self.high, float(finite.max()))
        if self.example is None or float(np.ptp(image)) > float(np.ptp(self.example)):
            self.example = image

    def settle(self, stated: Scale | None, model: Scale | None) -> tuple[Scale, list[str]]:
        """Determine the scale of the values.

        Nothing is assumed that neither the values nor the user state.

        Args:
            stated: Normalisation that the data set states or the user gave.
            model: Normalisation of the model; used only if it provably leads back to 8-bit images.

        Returns:
            The scale and notes.

        Raises:
            InputError: The meaning of the values is ambiguous; the message says what to pass.
        """
        if self.example is None:
            return Scale(), []
        if stated is not None and stated.mean is not None:
            return self._checked(stated), []
        if self.low >= -1e-6 and self.high <= 1 + 1e-6:
            return Scale(), []
        if model is not None and model.mean is not None and self._whole_levels(model):
            return self._checked(model), [
                "the images of the data set are normalised as the model states; that is undone"
            ]
        said = f"the images of the data set are floats from {self.low:.3g} to {self.high:.3g}"
        if self.low >= 0 and self.high > 2:
            raise InputError(f"{said}, not in [0, 1]: divide them by 255, or give them as uint8")
        if self.low >= -_OVERSHOOT and self.high <= 1 + _OVERSHOOT:
            return Scale(clipped=True), [f"{said}; values outside [0, 1] are clipped"]
        raise InputError(
            f"{said}, so they seem to be normalised: pass the normalisation, as mean=(0.485, 0.456, 0.406), "
            "std=(0.229, 0.224, 0.225), or give images in [0, 1]"
        )

    def _checked(self, scale: Scale) -> Scale:
        """Refuse a normalisation that does not lead back to [0, 1]."""
        assert self.example is not None
        values = scale.undo(self.example)
        low, high = float(np.nanmin(values)), float(np.nanmax(values))
        if low < -_OVERSHOOT or high > 1 + _OVERSHOOT:
            raise InputError(
                f"undoing the normalisation with mean {scale.mean} and std {scale.std} gives values from {low:.3g} to "
                f"{high:.3g} instead of [0, 1]: pass the mean and std that the data set normalises with"
            )
        return scale

    def _whole_levels(self, scale: Scale) -> bool:
        try:
            values = 255 * scale.undo(self.example)  # type: ignore[arg-type]
        except BadItemError:
            return False
        inside = bool((values > -1).all() and (values < 256).all())
        return inside and bool((np.abs(values - np.rint(values)) < _STEP).all())
