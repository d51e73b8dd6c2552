"""Affine transforms of images, with AffNIST-style ranges.

Source: the ranges of AffNIST (Tieleman 2013), rotation of 20 degrees, shear of 0.2 and scales of 0.8 to 1.2 per axis.
The data set itself is not used, so that results are AffNIST-style only. The range of the shift is ours.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from whywrong.core.checks import check_images
from whywrong.core.errors import InputError
from whywrong.core.randomness import keyed_uniform

Padding = Literal["reflection", "border", "zeros"]
_LIMITS = (("rotation", 180, True), ("shear", 1, True), ("scale", 1, False), ("shift", 1, False))
IDENTITY = (0.0, 0.0, 1.0, 1.0, 0.0, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class AffineRange:
    """Largest transforms, checked when built.

    Attributes:
        rotation: Degrees either way, in [0, 180].
        shear: Horizontal shear either way, in [0, 1].
        scale: Change of each axis either way as a share of its length, in [0, 1).
        shift: Shift either way as a share of the side, in [0, 1).
    """

    rotation: float = 20.0
    shear: float = 0.2
    scale: float = 0.2
    shift: float = 1 / 7

    def __post_init__(self) -> None:
        for name, most, closed in _LIMITS:
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
                raise InputError(f"{name} must be from 0 to {most}, got {value!r}")
            if value == most and not closed:
                raise InputError(f"{name} must be below {most}, got {value!r}")

    def grid(self) -> list[tuple[str, tuple[float, ...]]]:
        """List an exact grid that changes one number at a time.

        Each number takes half and the whole of its range, both ways.

        Returns:
            Name and numbers of each, as :func:`affine` takes them. Ranges of zero are left out.
        """
        found: list[tuple[str, tuple[float, ...]]] = []
        for step in (-1.0, -0.5, 0.5, 1.0):
            turn, lean, zoom, move = (step * size for size in (self.rotation, self.shear, self.scale, self.shift))
            changes = {
                f"rotation {turn:+.3g}": (turn, 0.0, 1.0, 1.0, 0.0, 0.0),
                f"shear {lean:+.3g}": (0.0, lean, 1.0, 1.0, 0.0, 0.0),
                f"scale {1 + zoom:.3g}": (0.0, 0.0, 1 + zoom, 1 + zoom, 0.0, 0.0),
                f"shift right {move:+.3g}": (0.0, 0.0, 1.0, 1.0, move, 0.0),
                f"shift down {move:+.3g}": (0.0, 0.0, 1.0, 1.0, 0.0, move),
            }
            found += [(name, numbers) for name, numbers in changes.items() if numbers != IDENTITY]
        return found

    def draw(self, keys: Tensor, draw: int = 0) -> Tensor:
        """Draw the numbers (B, 6) of each image, uniform in the ranges.

        Args:
            keys: (B,) int64, seed of each image.
            draw: Number of the draw.
        """
        most = (self.rotation, self.shear, self.scale, self.scale, self.shift, self.shift)
        uniform = 2 * keyed_uniform(keys, (6,), draw) - 1
        return uniform * uniform.new_tensor(most) + uniform.new_tensor(IDENTITY)


def affine(x: Tensor, numbers: Tensor, *, padding: Padding = "reflection") -> Tensor:
    """Rotate, shear, scale and shift images about their centre.

    Args:
        x: (B, C, H, W), floating point, in [0, 1]; left untouched.
        numbers: (B, 6) or (6,): degrees clockwise, shear, scale of both axes, and shift right and down as shares of the
            sides.
        padding: What fills the border: the ``reflection`` of the image, its ``border`` pixels, or black ``zeros``,
            which suits images with a black background only.

    Returns:
        Images of the same shape, sampled bilinearly.

    Raises:
        InputError: A shape or the padding is invalid, or a scale is not positive.
    """
    check_images(x)
    if padding not in get_args(Padding):
        raise InputError(f"padding must be one of {', '.join(get_args(Padding))}, got {padding!r}")
    values = numbers.to(x.device, torch.float32)
    values = values.expand(len(x), -1) if values.ndim == 1 else values
    if values.shape != (len(x), 6):
        raise InputError(f"numbers must be ({len(x)}, 6) or (6,), got {tuple(numbers.shape)}")
    if len(x) == 0:
        return x.clone()
    if not bool((values[:, 2:4] > 0).all()):
        raise InputError("scales must be positive")
    height, width = x.shape[2:]
    angle, shear, wide, high, right, down = values.unbind(1)
    angle = angle * (math.pi / 180)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    turn = torch.stack([torch.stack([cos, -sin], 1), torch.stack([sin, cos], 1)], 1)
    lean = torch.stack([torch.stack([wide, shear * high], 1), torch.stack([zero, high], 1)], 1)
    back = torch.linalg.inv(turn @ lean)  # of pixels of the result to pixels of the image
    offset = -(back @ torch.stack([right * width, down * height], 1)[:, :, None])
    half = back.new_tensor([width / 2, height / 2])
    theta = torch.cat([back * half / half[:, None], offset / half[:, None]], 2)
    grid = affine_grid(theta.to(x.dtype), list(x.shape), align_corners=False)
    return grid_sample(x, grid, padding_mode=padding, align_corners=False).clamp_(0, 1)
