"""Exact masks of colours, textures, parts and faults in a picture, for network dissection."""

from __future__ import annotations

import torch
from torch import Tensor

from whywrong.data.planted.scene import CUES, PART_NAMES, Pictures, Scene
from whywrong.data.planted.surfaces import TEXTURES

# Upper limits of the hues in turns; the last range wraps around to red.
_HUES = (
    (0.045, "red"),
    (0.11, "orange"),
    (0.19, "yellow"),
    (0.44, "green"),
    (0.54, "cyan"),
    (0.72, "blue"),
    (0.93, "purple"),
    (1.01, "red"),
)


CONCEPTS: tuple[str, ...] = (
    *(f"colour/{name}" for name in ("black", "grey", "white", *dict.fromkeys(name for _, name in _HUES))),
    *(f"texture/{name}" for name in TEXTURES),
    *(f"part/{name}" for name in PART_NAMES if name),
    *(f"fault/{name}" for name in (*CUES, "cover")),
)
"""All concepts that a drawn picture can show."""


def colour_names(rgb: Tensor) -> list[str]:
    """Name colours (N, 3) in [0, 1] as they are before lighting."""
    high, low = rgb.amax(1), rgb.amin(1)
    spread = (high - low).clamp_min(1e-6)
    r, g, b = rgb.unbind(1)
    hue = (
        torch.where(high == r, (g - b) / spread % 6, torch.where(high == g, (b - r) / spread + 2, (r - g) / spread + 4))
        / 6
    )
    names = []
    for value, bright, grey in zip(hue.tolist(), high.tolist(), ((high - low) < 0.18 * high).tolist(), strict=True):
        plain = "black" if bright < 0.25 else "white" if bright > 0.80 else "grey"
        names.append(plain if grey or bright < 0.25 else next(name for end, name in _HUES if value < end))
    return names


def concept_masks(scene: Scene, pictures: Pictures) -> dict[str, Tensor]:
    """Compute the masks of all visible concepts.

    Args:
        scene: Content of the pictures.
        pictures: Result of :func:`whywrong.data.planted.render` for the scene.

    Returns:
        Masks (B, S, S) bool by concept, as in ``colour/red``, ``texture/tiles``, ``part/handle``, ``fault/cover``;
        concepts that do not occur in the batch are omitted.
    """
    masks: dict[str, Tensor] = {}

    def add(name: str, mask: Tensor) -> None:
        if bool(mask.any()):
            masks[name] = masks[name] | mask if name in masks else mask

    batch, slots = pictures.colours.shape[:2]
    names = colour_names(pictures.colours.flatten(0, 1))
    for slot in range(slots):
        seen = pictures.slots == slot + 1
        for name in set(names[slot::slots]):
            rows = torch.tensor([names[i * slots + slot] == name for i in range(batch)])
            add(f"colour/{name}", seen & rows[:, None, None])
    empty = ~(pictures.object | pictures.second | pictures.cue | pictures.cover)
    for number, name in enumerate(TEXTURES):
        for surface, where in enumerate((~pictures.floor, pictures.floor)):
            add(f"texture/{name}", empty & where & (pictures.textures[:, surface] == number)[:, None, None])
    for number, name in enumerate(PART_NAMES):
        if number:
            add(f"part/{name}", pictures.parts == number)
    for number, name in enumerate(CUES):
        add(f"fault/{name}", pictures.cue & (scene.cue == number)[:, None, None])
    add("fault/cover", pictures.cover)
    return masks
