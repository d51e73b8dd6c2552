"""Preprocessing of an image for a classifier: size, crop, interpolation, normalisation."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral, Real

from whywrong.core.errors import InputError

INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos", "box", "hamming")


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSpec:
    """The input of a classifier and how images are prepared for it.

    Attributes:
        channels: 1 (grey) or 3 (RGB).
        height, width: Size of the classifier's input, in pixels.
        resize: Length of the shorter side before the centre crop, in pixels; None stretches the whole image
            to ``height`` x ``width`` without a crop.
        interpolation: One of ``INTERPOLATIONS``, as Pillow computes it.
        mean, std: Normalisation per channel of values in [0, 1], applied inside the classifier; None if the model
            takes images in [0, 1].

    Example:
        >>> import whywrong as ww
        >>> ww.InputSpec(height=224, width=224, resize=256).interpolation
        'bilinear'
    """

    channels: int = 3
    height: int
    width: int
    resize: int | None = None
    interpolation: str = "bilinear"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        for name in ("channels", "height", "width", "resize"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(
                value, (Integral, type(None) if name == "resize" else Integral)
            ):
                raise InputError(f"{name} must be a whole number, got {value!r}")
        if self.channels not in (1, 3):
            raise InputError(f"input channels must be 1 or 3, got {self.channels}")
        if self.height < 1 or self.width < 1:
            raise InputError(f"input size must be positive, got {self.height} x {self.width}")
        if self.resize is not None and self.resize < max(self.height, self.width):
            raise InputError(
                f"resize (shorter side, {self.resize} px) must be at least the input size {self.height} x {self.width}"
            )
        if self.interpolation not in INTERPOLATIONS:
            raise InputError(f'interpolation "{self.interpolation}" is not one of {", ".join(INTERPOLATIONS)}')
        if (self.mean is None) != (self.std is None):
            raise InputError("mean and std come together: give both or neither")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is None:
                continue
            if not isinstance(values, (tuple, list)) or not all(isinstance(value, Real) for value in values):
                raise InputError(f"{name} must be {self.channels} numbers, one a channel, got {values!r}")
            if len(values) != self.channels or not all(map(math.isfinite, values)):
                raise InputError(f"{name} needs {self.channels} finite values, got {values}")
        if self.std is not None and min(self.std) <= 0:
            raise InputError(f"std must be positive, got {self.std}")
