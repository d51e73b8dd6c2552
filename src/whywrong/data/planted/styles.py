"""Styles that no model was trained on, rendered from the same shapes."""

from __future__ import annotations

import torch
from torch import Tensor

from whywrong.core.randomness import keyed_uniform
from whywrong.data.planted.objects import Part
from whywrong.data.planted.scene import STYLES, Scene
from whywrong.data.planted.shapes import column, union
from whywrong.data.planted.surfaces import hsv


def restyle(images: Tensor, scene: Scene, parts: list[Part], colours: Tensor, pixels: Tensor) -> Tensor:
    """Render pictures (B, 3, S, S) uint8 in the style of their scene.

    Photos are unchanged.
    """
    images = images.clone()
    keys = scene.keys
    paper = 0.93 + 0.05 * keyed_uniform(keys, (1, 1, 1), 90).expand(-1, 3, *images.shape[2:])
    ink = torch.zeros(len(keys), *images.shape[2:])
    flat = hsv(
        *keyed_uniform(keys, (3,), 91).mul(torch.tensor([1.0, 0.5, 0.5])).add(torch.tensor([0.0, 0.2, 0.45])).unbind(1)
    )
    poster = flat[:, :, None, None].expand(-1, 3, *images.shape[2:]).clone()
    for part in parts:
        d = part.distance * column(pixels)
        cover = (0.5 - d).clamp(0, 1)
        ink = torch.maximum(ink * (1 - cover), (1.1 - d.abs()).clamp(0, 1))
        poster = torch.lerp(poster, colours[:, part.slot, :, None, None], cover[:, None])
    mass = (0.5 - union(*(part.distance for part in parts)) * column(pixels)).clamp(0, 1)
    versions = {
        "drawing": paper * (1 - 0.85 * ink[:, None]),
        "silhouette": paper * (1 - 0.92 * mass[:, None]),
        "inverted": 1 - images.float() / 255,
        "poster": poster,
    }
    for name, version in versions.items():
        chosen = (scene.style == STYLES.index(name))[:, None, None, None]
        images = torch.where(chosen, (version.clamp(0, 1) * 255).round().byte(), images)
    return images
