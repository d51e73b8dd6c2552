"""Load one item from its source to the model input, with everything that the report draws."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from PIL import Image

from whywrong.core.errors import BadItemError
from whywrong.core.input_spec import InputSpec
from whywrong.data.decoding import DecodeOptions, decode, decode_mask, from_array
from whywrong.data.geometry import Geometry
from whywrong.data.sources.base import Entry, Source

_TINY = 4  # pixels


@dataclass(frozen=True, slots=True, eq=False)
class LoadedItem:
    """An image prepared for the model.

    Attributes:
        entry: Its entry in the listing.
        image_id: SHA-256 of the file's bytes; for arrays, of bytes and shape.
        pixels: (C, H, W), uint8, the model input.
        image: The whole photograph, mode ``RGB`` or ``L``; reduced if :func:`load_item` got a ``photo_side``.
        geometry: Map between both; its width and height are those of the decoded photograph.
        mask: (H, W), bool, the object at the model input, from a mask or a box; None if the data has neither,
            or the object is outside the crop.
        notes: Anything unusual and how it was handled.
    """

    entry: Entry
    image_id: str
    pixels: np.ndarray
    image: Image.Image
    geometry: Geometry
    mask: np.ndarray | None
    notes: tuple[str, ...]

    @property
    def photo(self) -> np.ndarray:
        """Photograph, (H, W, 3) or (H, W, 1), uint8."""
        array = np.asarray(self.image)
        return array if array.ndim == 3 else array[:, :, None]


def image_id_of(data: bytes | np.ndarray) -> str:
    """Compute the SHA-256 of a file's bytes, or of an array's bytes and shape.

    Returns hexadecimal digits.
    """
    if isinstance(data, np.ndarray):
        digest = hashlib.sha256(repr(data.shape).encode())
        digest.update(np.ascontiguousarray(data).data)
        return digest.hexdigest()
    return hashlib.sha256(data).hexdigest()


def load_item(
    source: Source,
    entry: Entry,
    spec: InputSpec,
    options: DecodeOptions | None = None,
    *,
    photo_side: int | None = None,
) -> LoadedItem:
    """Read, decode, resize and crop one item.

    Args:
        source: Source of the entry.
        entry: The item.
        spec: Input of the model.
        options: Decoding options.
        photo_side: Reduce the stored photograph by a whole factor that keeps its longer side at least this many
            pixels, to save memory; None keeps its size.

    Returns:
        The item.

    Raises:
        BadItemError: The file cannot be read or decoded; the reason is stored with the item.
    """
    options = options or DecodeOptions()
    data = source.read(entry, options.max_pixels)
    decoded = from_array(data) if isinstance(data, np.ndarray) else decode(data, options, name=_file_name(entry.key))
    geometry = Geometry.plan(decoded.width, decoded.height, spec)
    notes = list(decoded.notes)
    if min(decoded.width, decoded.height) < _TINY <= min(spec.width, spec.height):
        notes.append(f"tiny image, {decoded.width} x {decoded.height}, enlarged")
    if geometry.windowed:
        notes.append("long strip: only the crop was resampled, which may differ by a grey level")
    if spec.channels == 1 and decoded.image.mode == "RGB":
        notes.append("colour turned grey for the model's single channel")
    mask = _mask(source, entry, geometry, options, notes)
    pixels = geometry.to_input(decoded.image)
    image = decoded.image
    factor = max(image.size) // photo_side if photo_side else 1
    if factor > 1:
        image = image.reduce(factor)
    return LoadedItem(entry, image_id_of(data), pixels, image, geometry, mask, tuple(notes))


def _file_name(key: str) -> str:
    return key.partition("//")[0].rpartition("/")[2]


def _mask(
    source: Source, entry: Entry, geometry: Geometry, options: DecodeOptions, notes: list[str]
) -> np.ndarray | None:
    """Load the object mask at the model input; an unusable mask is noted, and the image is still used."""
    if entry.mask is not None:
        try:
            mask = decode_mask(source.read_mask(entry), (geometry.width, geometry.height), options)
        except BadItemError as error:
            notes.append(f"mask not used: {error.reason}")
            return None
        mask = geometry.mask_to_input(mask)
    elif entry.box is not None:
        if entry.box[0] >= geometry.width or entry.box[1] >= geometry.height:
            notes.append(f"box not used: {entry.box} lies outside the image {geometry.width} x {geometry.height}")
            return None
        if entry.box[2] >= geometry.width or entry.box[3] >= geometry.height:
            notes.append(f"box {entry.box} reaches beyond the image {geometry.width} x {geometry.height}")
        mask = geometry.box_to_input(entry.box)
    else:
        return None
    if not mask.any():
        notes.append("the object lies outside the model's crop")
        return None
    return mask
