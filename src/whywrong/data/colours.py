"""Convert decoded images to 8-bit RGB or grey, without clipping, guessing or revealing hidden colours."""

from __future__ import annotations

import io
from typing import Protocol, cast

import numpy as np
from PIL import Image, ImageCms

from whywrong.core.errors import BadItemError


class Colours(Protocol):
    """Colour options of :class:`whywrong.data.decoding.DecodeOptions`."""

    @property
    def background(self) -> tuple[int, int, int]: ...
    @property
    def value_range(self) -> tuple[float, float] | None: ...
    @property
    def icc(self) -> str: ...


def to_8bit(image: Image.Image, kind: str, options: Colours, notes: list[str]) -> Image.Image:
    """Convert an image of any mode to ``RGB`` or ``L``.

    Args:
        image: Loaded image.
        kind: Its format.
        options: Background, range and profile handling.
        notes: Receives notes on what was done.

    Raises:
        BadItemError: The mode has no defined conversion to 8 bits.
    """
    if "icc_profile" in image.info:
        if options.icc == "convert":
            image = _to_srgb(image, notes)
        else:
            notes.append("colour profile, not applied")
    mode = image.mode
    if image.has_transparency_data and not mode.startswith("I"):
        return _composite(image, options.background, notes)
    if mode in ("RGB", "L"):
        return image
    if mode.startswith("I;16") or (mode == "I" and kind in ("PNG", "PPM")):
        return _from_16bit(image, options.background, notes)
    if mode in ("I", "F"):
        return _scale(image, options.value_range, notes)
    if mode == "CMYK":
        inverted = kind != "JPEG" or "adobe" in image.info
        notes.append("CMYK, converted to RGB" + ("" if inverted else " (no Adobe marker; read as inverted)"))
        return image.convert("RGB")
    if mode == "1":
        return image.convert("L")
    if mode in ("P", "YCbCr", "RGBX", "HSV"):
        return image.convert("RGB")
    raise BadItemError(f"colour mode not allowed: {mode}; convert it to RGB")


def _from_16bit(image: Image.Image, background: tuple[int, int, int], notes: list[str]) -> Image.Image:
    notes.append("16 bit, scaled by 1/257")
    values = np.asarray(image).astype(np.uint32)
    grey = Image.fromarray(((values + 128) // 257).astype(np.uint8))
    hidden = image.info.get("transparency")
    if not isinstance(hidden, int):
        return grey
    grey.putalpha(Image.fromarray(np.where(values == hidden, np.uint8(0), np.uint8(255))))
    return _composite(grey, background, notes)


def _composite(image: Image.Image, background: tuple[int, int, int], notes: list[str]) -> Image.Image:
    """Composite on the background, so that colours hidden under alpha 0 do not show."""
    grey = image.mode in ("LA", "La") and len(set(background)) == 1
    image = image.convert("LA" if grey else "RGBA")
    alpha = image.getchannel("A")
    flat = image.convert("L" if grey else "RGB")
    if cast("tuple[int, int]", alpha.getextrema())[0] == 255:
        return flat  # an opaque alpha channel hides nothing
    notes.append(f"transparency, composited on RGB {background}")
    canvas = Image.new(flat.mode, flat.size, background[0] if grey else background)
    canvas.paste(flat, mask=alpha)
    return canvas


def _scale(image: Image.Image, value_range: tuple[float, float] | None, notes: list[str]) -> Image.Image:
    what = "float" if image.mode == "F" else "32-bit"
    if value_range is None:
        raise BadItemError(f"{what} pixels without a stated range; state value_range or convert to 8 bit")
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise BadItemError(f"{what} pixels with NaN or infinity")
    low, high = value_range
    notes.append(f"{what} pixels, {low:g}..{high:g} scaled to 0..255")
    return Image.fromarray(np.rint((values.clip(low, high) - low) * (255 / (high - low))).astype(np.uint8))


def _to_srgb(image: Image.Image, notes: list[str]) -> Image.Image:
    if image.mode == "P":
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        converted = ImageCms.profileToProfile(
            image, profile, ImageCms.createProfile("sRGB"), outputMode="RGBA" if "A" in image.mode else "RGB"
        )
    except (ImageCms.PyCMSError, OSError, ValueError) as error:
        raise BadItemError(f"colour profile cannot be applied: {error}") from error
    notes.append("colour profile, converted to sRGB")
    return cast("Image.Image", converted)
