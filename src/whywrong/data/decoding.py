"""Decode image files to pixels with Pillow only, one parser per file, within fixed limits.

The content selects the parser (``formats.identify``), and the pixel limit is checked before decoding. Anything unusual
about a file is either noted or makes it a failed item; nothing is repaired silently.
"""

from __future__ import annotations

import contextlib
import io
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
from PIL import Image, ImageFile, ImageOps
from PIL.ExifTags import Base

from whywrong.core.errors import BadItemError, InputError
from whywrong.data.colours import to_8bit
from whywrong.data.formats import MAX_PIXELS, count_frames, header_size, identify, suffix_fits

MAX_JPEG_SCANS = 500
"""Progressive JPEGs have about ten scans; thousands of empty ones make a small file decode for minutes."""

_CHEAP_SCANS = 2**33  # bytes x pixels, below which even a file of scans only decodes in about a second
_PNG_END = b"IEND\xaeB`\x82"
_lock = threading.Lock()


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeOptions:
    """Options of decoding; part of the identity of a run.

    Attributes:
        max_pixels: Maximum width x height; larger files become failed items before decoding.
        exif: ``ignore`` leaves the pixels as stored, as the torchvision and timm pipelines do; ``apply`` turns the
            image by its orientation tag. A tag is noted in both cases. Pillow turns TIFF files itself.
        background: RGB colour, 0..255, on which transparent images are composited.
        value_range: (low, high) of float and 32-bit images, mapped to 0..255; None makes them failed items.
        icc: ``ignore`` notes a colour profile; ``convert`` converts the image to sRGB.
    """

    max_pixels: int = MAX_PIXELS
    exif: str = "ignore"
    background: tuple[int, int, int] = (255, 255, 255)
    value_range: tuple[float, float] | None = None
    icc: str = "ignore"

    def __post_init__(self) -> None:
        if self.max_pixels < 1:
            raise InputError(f"max_pixels must be at least 1, got {self.max_pixels}")
        if self.exif not in ("ignore", "apply"):
            raise InputError(f'exif must be "ignore" or "apply", got {self.exif!r}')
        if self.icc not in ("ignore", "convert"):
            raise InputError(f'icc must be "ignore" or "convert", got {self.icc!r}')
        if len(self.background) != 3 or not all(0 <= value <= 255 for value in self.background):
            raise InputError(f"background must be three values in 0..255, got {self.background}")
        if self.value_range is not None and not self.value_range[0] < self.value_range[1]:
            raise InputError(f"value_range must be (low, high) with low < high, got {self.value_range}")


@dataclass(frozen=True, slots=True, eq=False)
class Decoded:
    """One decoded image of 8-bit pixels.

    Attributes:
        image: Mode ``RGB`` or ``L``, fully loaded.
        format: Format of the content, e.g. ``JPEG``; ``array`` if the source holds pixels.
        notes: Anything unusual and how it was handled.
    """

    image: Image.Image
    format: str
    notes: tuple[str, ...] = field(default=())

    @property
    def width(self) -> int:
        """Width in pixels."""
        return self.image.width

    @property
    def height(self) -> int:
        """Height in pixels."""
        return self.image.height

    @property
    def pixels(self) -> np.ndarray:
        """Pixels (H, W, 3) or (H, W, 1), uint8."""
        array = np.asarray(self.image)
        return array if array.ndim == 3 else array[:, :, None]


def decode(data: bytes, options: DecodeOptions | None = None, *, name: str = "") -> Decoded:
    """Decode the bytes of an image file.

    Args:
        data: The whole file.
        options: Default :class:`DecodeOptions`.
        name: Name of the file, only used to note a suffix that does not fit the content.

    Returns:
        The first frame, with notes.

    Raises:
        BadItemError: The file is not an image, has an unsupported format, or is damaged, truncated or too large.
    """
    options = options or DecodeOptions()
    suffix = os.path.splitext(name)[1].lower()
    kind = identify(data, suffix)
    _check_container(kind, data, options.max_pixels)
    notes: list[str] = []
    if not suffix_fits(kind, suffix):
        notes.append(f"content is {kind}, the name ends in {suffix}")
    with _pillow_limits(options.max_pixels):
        try:
            opened = Image.open(io.BytesIO(data), formats=(kind,))
            _check_pixels(opened.size, options.max_pixels)
            _check_scans(kind, data, opened.size)
            notes += _frame_note(opened, kind, data)
            orientation = _orientation(opened, kind)
            opened.load()
            image = to_8bit(opened, kind, options, notes)
        except BadItemError:
            raise
        except Exception as error:  # hostile bytes: any error of the parser makes this a failed item
            raise BadItemError(_reason(kind, error, data)) from error
    if orientation != 1:
        image = _orient(image, orientation, kind, options, notes)
    return Decoded(image, kind, tuple(notes))


def decode_mask(data: bytes, size: tuple[int, int], options: DecodeOptions | None = None) -> np.ndarray:
    """Decode an object mask.

    Every pixel that is not 0 in any channel belongs to the object.

    Args:
        data: Image file.
        size: Required (width, height), that of its photograph.
        options: Only ``max_pixels`` is used.

    Returns:
        (H, W), bool.

    Raises:
        BadItemError: The mask cannot be decoded, or its size is not ``size``.
    """
    limit = (options or DecodeOptions()).max_pixels
    kind = identify(data)
    _check_container(kind, data, limit)
    with _pillow_limits(limit):
        try:
            image = Image.open(io.BytesIO(data), formats=(kind,))
            _check_pixels(image.size, limit)
            _check_scans(kind, data, image.size)
            image.load()
            if image.mode in ("LA", "RGBA"):
                image = image.convert("RGBA").convert("RGB")
            array = np.asarray(image)
        except BadItemError:
            raise
        except Exception as error:  # as in decode
            raise BadItemError(_reason(kind, error, data)) from error
    mask = np.asarray(array.any(axis=2) if array.ndim == 3 else array != 0)
    if (image.width, image.height) != tuple(size):
        raise BadItemError(f"mask is {image.width} x {image.height}, the image {size[0]} x {size[1]}")
    return mask


def from_array(array: np.ndarray) -> Decoded:
    """Wrap pixels (H, W, 1) or (H, W, 3) uint8 that a source already holds."""
    grey = array.shape[2] == 1
    return Decoded(Image.fromarray(np.ascontiguousarray(array[:, :, 0] if grey else array)), "array")


def _check_container(kind: str, data: bytes, limit: int) -> None:
    """Check size, completeness and scans before the parser runs."""
    size = header_size(kind, data)
    if size is not None:
        _check_pixels(size, limit)
    if kind == "PNG" and data.rfind(_PNG_END) < 0:
        raise BadItemError("truncated PNG: bytes are missing at the end")


def _check_scans(kind: str, data: bytes, size: tuple[int, int]) -> None:
    """Limit the scans of a JPEG, each of which visits all pixels but needs only ten bytes."""
    if kind == "JPEG" and len(data) * size[0] * size[1] > _CHEAP_SCANS and data.count(b"\xff\xda") > MAX_JPEG_SCANS:
        raise BadItemError(f"more than {MAX_JPEG_SCANS} scans in a JPEG")


def _check_pixels(size: tuple[int, int], limit: int) -> None:
    if size[0] * size[1] > limit:
        raise BadItemError(f"too many pixels: {size[0]} x {size[1]}, the cap is {limit}")
    if min(size) < 1:
        raise BadItemError(f"no pixels: {size[0]} x {size[1]}")


@contextlib.contextmanager
def _pillow_limits(max_pixels: int) -> Iterator[None]:
    """Change Pillow's global switches, only if needed for a larger limit or to forbid truncated files.

    The usual call changes nothing global and takes no lock.
    """
    if not ImageFile.LOAD_TRUNCATED_IMAGES and max_pixels <= (Image.MAX_IMAGE_PIXELS or max_pixels):
        yield
        return
    with _lock:
        before = ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS
        ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = False, max_pixels
        try:
            yield
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = before


def _frame_note(image: Image.Image, kind: str, data: bytes) -> list[str]:
    frames = count_frames(kind, data) if kind in ("GIF", "TIFF") else getattr(image, "n_frames", 1)
    return [f"{frames} frames, only the first is used"] if frames > 1 else []


def _orientation(image: Image.Image, kind: str) -> int:
    """Return the EXIF orientation 1..8; 1 if missing."""
    if kind == "TIFF":
        value = cast("Any", image).tag_v2.get(Base.Orientation, 1)
    else:
        value = image.getexif().get(Base.Orientation, 1) if "exif" in image.info else 1
    return value if value in range(2, 9) else 1


def _orient(image: Image.Image, value: int, kind: str, options: DecodeOptions, notes: list[str]) -> Image.Image:
    if kind == "TIFF":
        notes.append(f"EXIF orientation {value}, applied (Pillow turns TIFF files by itself)")
        return image
    if options.exif == "ignore":
        notes.append(f"EXIF orientation {value}, not applied")
        return image
    notes.append(f"EXIF orientation {value}, applied")
    return _TURN[value](image)


_TURN = {
    2: ImageOps.mirror,
    3: lambda image: image.transpose(Image.Transpose.ROTATE_180),
    4: ImageOps.flip,
    5: lambda image: image.transpose(Image.Transpose.TRANSPOSE),
    6: lambda image: image.transpose(Image.Transpose.ROTATE_270),
    7: lambda image: image.transpose(Image.Transpose.TRANSVERSE),
    8: lambda image: image.transpose(Image.Transpose.ROTATE_90),
}


def _reason(kind: str, error: Exception, data: bytes) -> str:
    text = " ".join(str(error).split())[:200]
    if isinstance(error, Image.DecompressionBombError):
        return "too many pixels: beyond the limit of the decoder"
    if isinstance(error, MemoryError):
        return "not enough memory to decode"
    if "Decompressed data too large" in text or "Too much memory used in text chunks" in text:
        return f"decompression bomb in a text or profile chunk of a {kind}"
    if kind == "JPEG" and b"\xff\xd9" not in data:
        return "truncated JPEG: bytes are missing at the end"
    if isinstance(error, Image.UnidentifiedImageError):
        return f"damaged {kind}: the header cannot be read; bytes are missing or changed"
    if "truncated" in text.lower() or isinstance(error, EOFError):
        return f"truncated {kind}: bytes are missing ({text})"
    return f"damaged {kind}: {text or type(error).__name__}"
