"""Procedural concepts, painted on images with exact masks: colours, textures and faults of images.

They need no annotation and can be judged at every layer. Colours are painted with random textures and textures in
random colours, so that neither stands for the other.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from whywrong.core.randomness import keyed_normal, keyed_sign, keyed_uniform
from whywrong.data.corruptions import corrupt
from whywrong.data.corruptions.filters import gaussian_filter

# Hue in turns, saturation and value, as (low, high).
_COLOURS: dict[str, tuple[tuple[float, float], ...]] = {
    "red": ((-0.02, 0.02), (0.7, 1.0), (0.5, 0.95)),
    "orange": ((0.06, 0.1), (0.7, 1.0), (0.75, 1.0)),
    "yellow": ((0.14, 0.17), (0.6, 1.0), (0.75, 1.0)),
    "green": ((0.28, 0.4), (0.5, 1.0), (0.3, 0.8)),
    "blue": ((0.57, 0.67), (0.6, 1.0), (0.4, 0.95)),
    "purple": ((0.75, 0.82), (0.4, 0.9), (0.35, 0.8)),
    "pink": ((0.9, 0.95), (0.25, 0.5), (0.85, 1.0)),
    "brown": ((0.05, 0.09), (0.5, 0.8), (0.25, 0.45)),
    "black": ((0.0, 1.0), (0.0, 0.1), (0.0, 0.1)),
    "grey": ((0.0, 1.0), (0.0, 0.06), (0.4, 0.6)),
    "white": ((0.0, 1.0), (0.0, 0.05), (0.92, 1.0)),
}
_ANGLES = {"horizontal": 0.0, "rising": 0.25, "vertical": 0.5, "falling": 0.75}  # half turns, direction of the bars
_WAVES = {"fine": 1 / 24, "medium": 1 / 12, "coarse": 1 / 6}  # wavelength as a share of the side
_FAULTS = {
    "blur": ("gaussian_blur", 5),
    "noise": ("gaussian_noise", 5),
    "jpeg": ("jpeg_compression", 5),
    "saturation": ("saturate", 5),
}
PAINTED: tuple[str, ...] = (
    *(f"colour/{name}" for name in _COLOURS),
    *(f"texture/{wave} {angle} bars" for angle in _ANGLES for wave in _WAVES),
    *(f"texture/{name}" for name in ("checkerboard", "dots", "crosshatch", "bricks", "clouds", "speckles")),
    *(f"fault/{name}" for name in (*_FAULTS, "grey patch", "frame")),
)
"""Names of all painted concepts."""

_AREA = 0.04, 0.3  # share of the image that a region covers


def paint(x: Tensor, concept: Tensor, keys: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Paint one concept into a region of each image.

    Args:
        x: Images, (B, C, H, W), in [0, 1]; left untouched.
        concept: (B,), int64, index into :data:`PAINTED`.
        keys: Seed of each image, (B,), int64.

    Returns:
        Painted images, masks (B, H, W) bool, and the pixels (B, H, W) bool that are not on the feathered edge.
    """
    inside = _regions(x, keys)
    backgrounds = gaussian_filter(x, max(1.0, min(x.shape[2:]) / 16))
    grey = keyed_sign(keys, (1, 1, 1), 31) > 0
    backgrounds = torch.where(grey, 0.35 + 0.3 * keyed_uniform(keys, (1, 1, 1), 32), backgrounds).clamp(0, 1)
    fill = torch.empty_like(x)
    for number in concept.unique().tolist():
        rows = (concept == number).nonzero().flatten()
        name = PAINTED[number]
        if name == "fault/frame":
            inside[rows] = _frame(x[rows], keys[rows])
        kind = name.partition("/")[0]
        made = {"colour": _colour, "texture": _texture, "fault": _fault}[kind](name, x[rows], keys[rows])
        fill[rows] = made.to(fill.dtype)
        if kind == "fault":
            backgrounds[rows] = x[rows]  # a fault shows only beside an intact picture
    soft = torch.nn.functional.avg_pool2d(inside[:, None].float(), 3, 1, 1, count_include_pad=False)
    certain = (soft == 0) | (soft == 1)
    return torch.lerp(backgrounds, fill, soft.to(x.dtype)), inside & certain[:, 0], certain[:, 0]


def _regions(x: Tensor, keys: Tensor) -> Tensor:
    """Draw a blob, a disc or a half-plane (B, H, W) bool of a random area in each image."""
    height, width = x.shape[2:]
    down, across = _places(x)
    draw = keyed_uniform(keys, (6, 1, 1), 1).to(x.dtype)
    centre = 0.15 + 0.7 * draw[:, :2]
    disc = -((down - centre[:, 0]) ** 2 + (across - centre[:, 1]) ** 2)
    turn = 2 * math.pi * draw[:, 2]
    plane = turn.cos() * down + turn.sin() * across
    coarse = keyed_normal(keys, (1, 5, 5), 2).to(x.dtype)
    blob = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")[:, 0]
    shape = draw[:, 3]
    score = torch.where(shape < 0.4, blob, torch.where(shape < 0.8, disc.expand_as(blob), plane.expand_as(blob)))
    area = _AREA[0] + (_AREA[1] - _AREA[0]) * draw[:, 4, 0, 0]
    order = score.flatten(1).sort(1, descending=True).values
    least = order.gather(1, (area * height * width).long()[:, None])
    return score > least[:, :, None]


def _frame(x: Tensor, keys: Tensor) -> Tensor:
    down, across = _places(x)
    wide = 0.04 + 0.06 * keyed_uniform(keys, (1, 1), 3).to(x.dtype)
    return torch.minimum(torch.minimum(down, 1 - down), torch.minimum(across, 1 - across)).expand(len(x), -1, -1) < wide


def _places(x: Tensor) -> tuple[Tensor, Tensor]:
    """Return the row (1, H, W) and column (1, H, W) of each pixel as shares of the sides."""
    height, width = x.shape[2:]
    down = (torch.arange(height, device=x.device, dtype=x.dtype) + 0.5) / height
    across = (torch.arange(width, device=x.device, dtype=x.dtype) + 0.5) / width
    return down[None, :, None].expand(1, height, width), across[None, None, :].expand(1, height, width)


def _colour(name: str, x: Tensor, keys: Tensor) -> Tensor:
    """Fill with a named colour on a random texture of the same hue."""
    hue, saturation, value = _COLOURS[name.partition("/")[2]]
    draw = keyed_uniform(keys, (3,), 4).to(x.dtype)
    low = x.new_tensor([hue[0], saturation[0], value[0]])
    span = x.new_tensor([hue[1], saturation[1], value[1]]) - low
    shade = 0.9 + 0.1 * _any_texture(x, keys)
    filled = (_rgb(low + span * draw)[:, :, None, None] * shade).clamp(0, 1)  # (B, 3, H, W)
    return filled if x.shape[1] == 3 else filled.mean(1, keepdim=True).expand_as(x)


def _texture(name: str, x: Tensor, keys: Tensor) -> Tensor:
    """Fill with a texture in two random colours."""
    pattern = _pattern(name.partition("/")[2], x, keys)[:, None]
    ends = keyed_uniform(keys, (2, x.shape[1], 1, 1), 5).to(x.dtype)
    first, second = ends[:, 0], (ends[:, 0] + 0.35 + 0.3 * ends[:, 1]) % 1.0
    return torch.lerp(first, second, pattern)


def _fault(name: str, x: Tensor, keys: Tensor) -> Tensor:
    """Fill with the damaged picture itself, a grey patch, or a plain frame."""
    short = name.partition("/")[2]
    if short in _FAULTS:
        kind, severity = _FAULTS[short]
        return corrupt(x, kind, severity, keys=keys)
    low, span = (0.35, 0.3) if short == "grey patch" else (0.0, 1.0)
    return (low + span * keyed_uniform(keys, (1, 1, 1), 6).to(x.dtype)).expand_as(x)


def _any_texture(x: Tensor, keys: Tensor) -> Tensor:
    """Return fine noise (B, 1, H, W) in [-1, 1], smoothed at random."""
    noise = keyed_normal(keys, (1, *x.shape[2:]), 7).to(x.dtype)
    smooth = gaussian_filter(noise, 2.0)
    smooth = smooth / smooth.flatten(1).std(1).clamp_min(1e-6)[:, None, None, None]
    return torch.where(keyed_sign(keys, (1, 1, 1), 8) > 0, smooth, noise).clamp(-1, 1)


def _pattern(name: str, x: Tensor, keys: Tensor) -> Tensor:
    """Return a pattern (B, H, W) in [0, 1]."""
    down, across = _places(x)
    phase = keyed_uniform(keys, (2, 1, 1), 9).to(x.dtype)
    if name.endswith(" bars"):
        wave, angle, _ = name.split(" ")
        return _bars(_ANGLES[angle], _WAVES[wave], (down, across), phase[:, 0])
    patterns: dict[str, Callable[[], Tensor]] = {
        "checkerboard": lambda: (((down + phase[:, 0]) * 8).floor() + ((across + phase[:, 1]) * 8).floor()) % 2,
        "dots": lambda: (
            (((down + phase[:, 0]) * 8) % 1 - 0.5) ** 2 + (((across + phase[:, 1]) * 8) % 1 - 0.5) ** 2 < 0.08
        ).to(x.dtype),
        "crosshatch": lambda: torch.maximum(
            *(_bars(angle, 1 / 10, (down, across), phase[:, 0]).pow(4) for angle in (0.25, 0.75))
        ),
        "bricks": lambda: _bricks(down + phase[:, 0], across + phase[:, 1]).to(x.dtype),
        "clouds": lambda: _noise(x, keys, max(2.0, min(x.shape[2:]) / 20)),
        "speckles": lambda: (_noise(x, keys, 0.8) > 0.6).to(x.dtype),
    }
    return patterns[name]()


def _bars(angle: float, wave: float, places: tuple[Tensor, Tensor], phase: Tensor) -> Tensor:
    along = math.cos(math.pi * angle) * places[0] + math.sin(math.pi * angle) * places[1]
    return 0.5 + 0.5 * torch.sin(2 * math.pi * (along / wave + phase))


def _bricks(down: Tensor, across: Tensor) -> Tensor:
    row = (down * 8).floor()
    return ((down * 8) % 1 > 0.2) & ((across * 4 + 0.5 * (row % 2)) % 1 > 0.1)


def _noise(x: Tensor, keys: Tensor, sigma: float) -> Tensor:
    smooth = gaussian_filter(keyed_normal(keys, (1, *x.shape[2:]), 10).to(x.dtype), sigma)[:, 0]
    return (0.5 + 0.3 * smooth / smooth.flatten(1).std(1).clamp_min(1e-6)[:, None, None]).clamp(0, 1)


def _rgb(hsv: Tensor) -> Tensor:
    """Convert HSV (B, 3), hue in turns, to RGB (B, 3)."""
    hue, saturation, value = hsv[:, :1], hsv[:, 1:2], hsv[:, 2:]
    corner = (hsv.new_tensor([[5.0, 3.0, 1.0]]) + 6 * (hue % 1)) % 6
    return value - value * saturation * torch.minimum(corner, 4 - corner).clamp(0, 1)
