"""Affine map between the photograph and the model input, stored with every item.

Resizing and cropping match ``torchvision.transforms.Resize`` and ``CenterCrop`` on Pillow images pixel by pixel, as do
timm's evaluation pipelines. Coordinates are continuous: pixel ``i`` covers ``[i, i + 1)``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from whywrong.core.errors import InputError
from whywrong.core.input_spec import InputSpec

MAX_RESIZED_PIXELS = 2**25
"""Above this size of the resized image (strips of more than about 500 : 1) only the crop window is computed."""

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """Resize of the whole photograph, followed by a crop of the input size.

    Attributes:
        width, height: Photograph as decoded, in pixels.
        input_width, input_height, channels: Input of the model.
        resized_width, resized_height: Photograph after the resize.
        left, top: Corner of the crop in the resized photograph.
        interpolation: As in :class:`InputSpec`.
    """

    width: int
    height: int
    input_width: int
    input_height: int
    channels: int
    resized_width: int
    resized_height: int
    left: int
    top: int
    interpolation: str

    @classmethod
    def plan(cls, width: int, height: int, spec: InputSpec) -> Geometry:
        """Plan the geometry of a photograph for a model input.

        The photograph has ``width`` x ``height`` pixels.

        Raises:
            InputError: The photograph has no pixels.
        """
        if width < 1 or height < 1:
            raise InputError(f"a photograph needs at least one pixel, got {width} x {height}")
        if spec.resize is None:
            resized = spec.width, spec.height
        elif width <= height:
            resized = spec.resize, int(spec.resize * height / width)
        else:
            resized = int(spec.resize * width / height), spec.resize
        return cls(
            width=width,
            height=height,
            input_width=spec.width,
            input_height=spec.height,
            channels=spec.channels,
            resized_width=resized[0],
            resized_height=resized[1],
            left=round((resized[0] - spec.width) / 2.0),  # half to even, as torchvision rounds
            top=round((resized[1] - spec.height) / 2.0),
            interpolation=spec.interpolation,
        )

    @property
    def scale(self) -> tuple[float, float]:
        """Pixels of the photograph per pixel of the input, (along x, along y)."""
        return self.width / self.resized_width, self.height / self.resized_height

    @property
    def crop_box(self) -> tuple[float, float, float, float]:
        """Region (x0, y0, x1, y1) that the model sees, in pixels of the photograph."""
        sx, sy = self.scale
        return (
            self.left * sx,
            self.top * sy,
            (self.left + self.input_width) * sx,
            (self.top + self.input_height) * sy,
        )

    @property
    def crop_share(self) -> tuple[float, float, float, float]:
        """Left, top, width and height of the region that the model sees, as shares of the photograph."""
        across, down = self.resized_width, self.resized_height
        return self.left / across, self.top / down, self.input_width / across, self.input_height / down

    @property
    def windowed(self) -> bool:
        """Whether only the crop window is resampled, because the photograph is a very long strip."""
        return self.resized_width * self.resized_height > MAX_RESIZED_PIXELS

    def to_input(self, pixels: np.ndarray | Image.Image) -> np.ndarray:
        """Resize and crop the photograph to the model input.

        Args:
            pixels: (H, W, 3), (H, W, 1) or (H, W), uint8, or a Pillow image of mode ``RGB`` or ``L``.

        Returns:
            (C, H, W), uint8. Grey is repeated to three channels, or colour converted to grey, as the input requires.

        Raises:
            InputError: The size of the photograph is not the planned one.
        """
        image = pixels if isinstance(pixels, Image.Image) else _as_image(pixels)
        if image.size != (self.width, self.height):
            raise InputError(f"geometry of {self.width} x {self.height} px met an image of {image.size} px")
        if self.channels == 1 and image.mode != "L":
            image = image.convert("L")
        image = self._resample(image, _FILTERS[self.interpolation])
        if image.mode == "L":
            return np.repeat(np.asarray(image)[None], self.channels, axis=0)
        return _planes(image)

    def mask_to_input(self, mask: np.ndarray) -> np.ndarray:
        """Convert an object mask of the photograph to the model input.

        Both are (H, W) bool.

        A pixel belongs to the object if at least half of it is covered. If no pixel is, every touched pixel does.
        """
        if mask.shape != (self.height, self.width):
            raise InputError(f"mask {mask.shape} does not fit the photograph ({self.height}, {self.width})")
        image = Image.fromarray(np.where(mask, np.uint8(255), np.uint8(0)))
        cover = np.asarray(self._resample(image, Image.Resampling.BOX))
        half = cover >= 128
        return half if half.any() else cover > 0

    def box_to_input(self, box: tuple[float, float, float, float]) -> np.ndarray:
        """Convert a box of the photograph to a mask of the model input.

        The box is (x_min, y_min, x_max, y_max) in inclusive pixels, the mask (H, W) bool.

        A pixel belongs to the box if its centre is inside; a box between two centres gets the nearest pixels.
        The mask is empty if the crop excludes the box.
        """
        sx, sy = self.scale
        columns = _inside(box[0] / sx - self.left, (box[2] + 1) / sx - self.left, self.input_width)
        rows = _inside(box[1] / sy - self.top, (box[3] + 1) / sy - self.top, self.input_height)
        return rows[:, None] & columns[None, :]

    def _resample(self, image: Image.Image, resample: Image.Resampling) -> Image.Image:
        if self.windowed:
            x0, y0, x1, y1 = self.crop_box
            window = (max(0.0, x0), max(0.0, y0), min(float(self.width), x1), min(float(self.height), y1))
            return image.resize((self.input_width, self.input_height), resample, box=window)
        resized = self.resized_width, self.resized_height
        if image.size != resized:
            image = image.resize(resized, resample)
        if resized == (self.input_width, self.input_height):
            return image
        return image.crop((self.left, self.top, self.left + self.input_width, self.top + self.input_height))


def _as_image(pixels: np.ndarray) -> Image.Image:
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    return Image.fromarray(np.ascontiguousarray(pixels))


def _planes(image: Image.Image) -> np.ndarray:
    """Return an RGB image as (3, H, W) uint8, twice as fast as transposing a copy of (H, W, 3)."""
    words = np.frombuffer(image.tobytes("raw", "RGBX"), dtype="<u4").reshape(image.height, image.width)
    planes = np.empty((3, image.height, image.width), np.uint8)
    for channel in range(3):
        np.right_shift(words, 8 * channel, out=planes[channel], casting="unsafe")
    return planes


def _inside(low: float, high: float, size: int) -> np.ndarray:
    """Return the pixels (size,) bool whose centre is in [low, high), or the middle one if there is none."""
    centres = np.arange(size) + 0.5
    inside = (centres >= low) & (centres < high)
    if not inside.any():
        middle = int(np.floor((low + high) / 2))
        if 0 <= middle < size:
            inside[middle] = True
    return inside
