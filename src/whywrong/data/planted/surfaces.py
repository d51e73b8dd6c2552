"""Textures, walls, floors, and palettes.

Everything is computed for a batch at once, from keyed random numbers, and pixel by pixel or image by image, so that an
image does not depend on its neighbours in the batch. Values are linear colours in about [0, 1].
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

from whywrong.core.randomness import keyed_uniform

TEXTURES = ("plaster", "stripes", "tiles", "planks", "grain")


def hsv(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """Convert HSV, (B,) each with hue in turns, to RGB (B, 3)."""
    turn = (hue[:, None] * 6 + torch.tensor([5.0, 3.0, 1.0])) % 6
    return value[:, None] * (1 - saturation[:, None] * torch.minimum(turn, 4 - turn).clamp(0, 1))


def noise(keys: Tensor, size: int, cells: int, draw: int, octaves: int = 1) -> Tensor:
    """Draw smooth noise (B, size, size) in [0, 1].

    Random values are on a grid of ``cells`` per side, finer and weaker with each octave.
    """
    total, weight = torch.zeros(len(keys), size, size), 0.0
    for octave in range(octaves):
        points = min(cells * 2**octave, size - 1) + 1
        grid = keyed_uniform(keys, (1, points, points), draw + octave)
        layer = functional.interpolate(grid, size=(size, size), mode="bilinear", align_corners=True)[:, 0]
        total.add_(layer, alpha=0.5**octave)
        weight += 0.5**octave
    return total.div_(weight)


def texture(kind: Tensor, x: Tensor, y: Tensor, grain: Tensor, frequency: Tensor) -> Tensor:
    """Compute the lightness (B, H, W) in [0, 1] of a surface of ``TEXTURES``.

    Args:
        kind: (B,), int64.
        x: (B, H, W), coordinates on the surface.
        y: (B, H, W).
        grain: (B, H, W), noise in [0, 1].
        frequency: (B,), repetitions per unit.
    """
    f = frequency[:, None, None]
    light = torch.empty_like(grain)
    for number, name in enumerate(TEXTURES):
        rows = (kind == number).nonzero().flatten()
        if not len(rows):
            continue
        a, b, n, w = x[rows], y[rows], grain[rows], f[rows]
        if name == "plaster":
            t = 0.25 + 0.5 * n
        elif name == "stripes":
            t = 0.7 * torch.sigmoid(6 * torch.sin(w * (a + 0.25 * b) * math.pi)) + 0.3 * n
        elif name == "tiles":
            cell = (torch.floor(a * w) + torch.floor(b * w)) % 2
            t = 0.25 + 0.5 * cell + 0.3 * (n - 0.5)
        elif name == "planks":
            row = b * w
            shift = torch.frac(torch.floor(row) * 0.37) * 3
            board = torch.frac(torch.floor(row) * 0.618 + torch.floor(a * 0.6 + shift) * 0.31)
            t = (0.35 + 0.35 * board + 0.35 * (n - 0.5)) * (0.55 + 0.45 * ((row % 1 - 0.5).abs() < 0.44))
        else:
            t = (n - 0.5) * 1.6 + 0.5
        light[rows] = t
    return light.clamp_(0, 1)


def room(keys: Tensor, x: Tensor, y: Tensor, horizon: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Draw a wall and, below the horizon, a floor in perspective.

    Args:
        keys: (B,), int64.
        x: (B, H, W), -1 to 1 from left to right.
        y: (B, H, W), -1 to 1 from top to bottom.
        horizon: (B,), height at which the floor begins.

    Returns:
        Colours (B, 3, H, W); the floor's share of each pixel (B, H, W); textures of wall and floor (B, 2), indices
        into ``TEXTURES``.
    """
    size = x.shape[-1]
    r = keyed_uniform(keys, (20,), 100)
    far = y - horizon[:, None, None] - (r[:, 0] - 0.5)[:, None, None] * 0.10 * x
    floor = (far * size * 0.4 + 0.5).clamp(0, 1)
    depth = far.clamp_min(0) + 0.22
    kinds = (r[:, 1:3] * len(TEXTURES)).long().clamp_max(len(TEXTURES) - 1)
    surfaces = []
    for i, (a, b) in enumerate(((x, y), (x / depth * 0.5, 0.4 / depth))):
        c = r[:, 3 + 8 * i : 11 + 8 * i]
        colour = hsv(c[:, 0], 0.06 + 0.42 * c[:, 1] ** 2, 0.35 + 0.55 * c[:, 2])
        dark = colour * (0.50 + 0.35 * c[:, 3])[:, None]
        grain = noise(keys, size, (4, 8)[i], 200 + 20 * i, 4)
        t = texture(kinds[:, i], a, b, grain, 2.5 + 4 * c[:, 4])[:, None]
        surfaces.append(torch.lerp(dark[:, :, None, None], colour[:, :, None, None], t))
    share = floor[:, None]
    image = torch.lerp(surfaces[0], surfaces[1], share)
    corner = 1 - 0.30 * torch.exp(-far.abs() * 5)  # wall and floor darken towards the edge where they meet
    return image * corner[:, None], floor, kinds


def palette(keys: Tensor, draw: int) -> Tensor:
    """Draw the palette (B, 8, 3) of one object per image.

    Slots are main, second, dark, light, metal, wood, beak and glass colours.
    """
    r = keyed_uniform(keys, (26,), draw)
    grey = (r[:, 23] < 0.12).float()
    return torch.stack(
        [
            hsv(r[:, 0], (0.35 + 0.55 * r[:, 1]) * (1 - 0.85 * grey), 0.35 + 0.58 * r[:, 2]),
            hsv(r[:, 0] + 0.15 + 0.7 * r[:, 3], 0.25 + 0.65 * r[:, 4], 0.40 + 0.55 * r[:, 5]),
            hsv(r[:, 6], 0.05 + 0.20 * r[:, 7], 0.08 + 0.12 * r[:, 8]),
            hsv(0.07 + 0.09 * r[:, 9], 0.03 + 0.15 * r[:, 10], 0.82 + 0.16 * r[:, 11]),
            hsv(r[:, 22], 0.02 + 0.08 * r[:, 12], 0.50 + 0.35 * r[:, 13]),
            hsv(0.05 + 0.06 * r[:, 14], 0.35 + 0.30 * r[:, 15], 0.30 + 0.45 * r[:, 16]),
            hsv(0.02 + 0.11 * r[:, 17], 0.75 + 0.2 * r[:, 18], 0.75 + 0.25 * r[:, 19]),
            hsv(0.50 + 0.12 * r[:, 20], 0.15 + 0.25 * r[:, 21], 0.40 + 0.40 * r[:, 22]),
        ],
        1,
    )
