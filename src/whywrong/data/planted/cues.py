"""Cues outside the object, such as a sticker, a tinted border, or a woven pattern on the wall.

Each function changes ``image`` (B, 3, S, S) in place in the rows whose scene has the cue, and writes its coverage to
``cue`` (B, S, S), in [0, 1]. ``x`` and ``y`` (B, S, S) run from -1 to 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from whywrong.core.randomness import keyed_uniform
from whywrong.data.planted.objects import Part
from whywrong.data.planted.paint import paint
from whywrong.data.planted.scene import CUES, Scene
from whywrong.data.planted.shapes import circle, column


def mark(image: Tensor, scene: Scene, x: Tensor, y: Tensor, light: Tensor, size: int, cue: Tensor) -> Tensor:
    """Draw a small round sticker, yellow with a dark ring, near a corner."""
    rows = (scene.cue == CUES.index("mark")).nonzero().flatten()
    if len(rows):
        r = keyed_uniform(scene.keys[rows], (3,), 80)
        cx = torch.where(r[:, 0] < 0.5, -0.72, 0.72)
        cy = torch.where(r[:, 1] < 0.5, -0.72, 0.72)
        u, v = x[rows] - column(cx), y[rows] - column(cy)
        disc = circle(u, v, 0.22)
        parts = [Part("mark", disc, 0, 0.03, 0.1), Part("ring", (circle(u, v, 0.13)).abs() - 0.03, 1, 0.02, 0.0)]
        colours = torch.tensor([[1.0, 0.85, 0.10], [0.12, 0.10, 0.35]]).expand(len(rows), 2, 3)
        part = image[rows]
        covers = paint(
            part,
            parts,
            colours,
            torch.full((len(rows),), size / 2),
            light[rows],
            torch.full_like(u, 0.5),
            torch.ones(len(rows)),
        )
        image[rows], cue[rows] = part, covers[0]
    return cue


def tint(image: Tensor, scene: Scene, x: Tensor, y: Tensor, cue: Tensor) -> Tensor:
    """Tint the border magenta."""
    rows = (scene.cue == CUES.index("tint")).nonzero().flatten()
    if len(rows):
        border = ((torch.maximum(x[rows].abs(), y[rows].abs()) - 0.80) / 0.06).clamp(0, 1)
        magenta = torch.tensor([0.95, 0.25, 0.75])[:, None, None]
        image[rows] = torch.lerp(
            image[rows], magenta * (0.35 + 0.65 * image[rows].mean(1, keepdim=True)), 0.6 * border[:, None]
        )
        cue[rows] = border
    return cue


def weave(image: Tensor, scene: Scene, x: Tensor, y: Tensor, floor: Tensor, cue: Tensor) -> Tensor:
    """Draw a fine teal and cream weave on the wall."""
    rows = (scene.cue == CUES.index("weave")).nonzero().flatten()
    if len(rows):
        a, b = x[rows] * 9, y[rows] * 9
        over = ((a + b) % 2 < 1) ^ ((a - b) % 2 < 1)
        teal, cream = torch.tensor([0.10, 0.50, 0.50])[:, None, None], torch.tensor([0.88, 0.84, 0.66])[:, None, None]
        wall = (1 - floor[rows])[:, None]
        image[rows] = torch.lerp(image[rows], torch.where(over[:, None], teal, cream), 0.85 * wall)
        cue[rows] = wall[:, 0]
    return cue
