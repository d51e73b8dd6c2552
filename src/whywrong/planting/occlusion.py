"""Missing evidence: the object covered, cut off by the frame, or too small."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from whywrong.core.randomness import keyed_uniform
from whywrong.planting.batch import Candidate, Perturbation, PlantingBatch, redraw

_SHARES = (0.4, 0.55, 0.7, 0.8, 0.9)
_SIZES = (0.6, 0.45, 0.35, 0.25, 0.18)


def cover(batch: PlantingBatch, severity: int) -> Candidate:
    """Cover part of the object from the left or the right with a plain board.

    Its mask or box is used if known, otherwise the middle of the picture.
    """
    share = _SHARES[severity - 1]
    strength = f"{share:.0%} of its width"
    if batch.scene is not None:
        return redraw(batch, batch.scene.but(covered=share), strength=strength)
    x, (_, _, height, width) = batch.x, batch.x.shape
    left, top, right, bottom = _places(batch)
    r = keyed_uniform(batch.keys, (5,), 311)
    reach = (right - left) * share
    from_left = r[:, 0] < 0.5
    start = torch.where(from_left, left - 0.06 * width, right - reach)
    stop = torch.where(from_left, left + reach, right + 0.06 * width)
    across, down = torch.arange(width) + 0.5, torch.arange(height) + 0.5
    inside = ((across >= start[:, None]) & (across < stop[:, None]))[:, None, :]
    inside = inside & ((down >= top[:, None] - 0.03 * height) & (down < bottom[:, None] + 0.03 * height))[:, :, None]
    colour = (0.25 + 0.5 * r[:, 1:4])[:, : x.shape[1], None, None]
    light = (1.1 - 0.2 * down / height)[:, None] * (1 + 0.03 * torch.sin(across * (3 + 5 * r[:, 4, None, None])))
    board = (colour * light[:, None]).clamp(0, 1)
    return Candidate(torch.where(inside[:, None], board, x), batch.y, strength)


def cut(batch: PlantingBatch, severity: int) -> Candidate:
    """Move the object sideways out of the picture, and fill in a blur of the edge."""
    share = (0.35, 0.5, 0.6, 0.7, 0.8)[severity - 1]
    if batch.scene is not None:
        return redraw(batch, batch.scene.but(shift=share), strength=f"{share:.0%} of the way out")
    x, width = batch.x, batch.x.shape[-1]
    by = round(width * share)
    fill = _blurred(x)
    to_left = torch.cat([x[..., by:], fill[..., width - by :]], -1)
    to_right = torch.cat([fill[..., :by], x[..., : width - by]], -1)
    left = (keyed_uniform(batch.keys, (), 312) < 0.5)[:, None, None, None]
    return Candidate(torch.where(left, to_left, to_right), batch.y, f"{share:.0%} of the picture gone")


def shrink(batch: PlantingBatch, severity: int) -> Candidate:
    """Draw the object smaller, or shrink the photograph onto a blur of itself."""
    scale = _SIZES[severity - 1]
    strength = f"{scale:.0%} of its size"
    if batch.scene is not None:
        return redraw(batch, batch.scene.but(shrink=scale), strength=strength)
    x, (_, _, height, width) = batch.x, batch.x.shape
    h, w = max(1, round(height * scale)), max(1, round(width * scale))
    small = F.interpolate(x, (h, w), mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)
    x = _blurred(x).clone()
    top, left = (height - h) // 2, (width - w) // 2
    x[..., top : top + h, left : left + w] = small
    return Candidate(x, batch.y, strength)


def _blurred(x: Tensor) -> Tensor:
    few = F.adaptive_avg_pool2d(x, 3)
    return F.interpolate(few, x.shape[-2:], mode="bicubic", align_corners=False).clamp(0, 1)


def _places(batch: PlantingBatch) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return left, top, right and bottom (B,) of the object, in pixels."""
    height, width = batch.x.shape[-2:]
    middle = torch.zeros(len(batch), height, width, dtype=torch.bool)
    middle[:, round(0.15 * height) : round(0.85 * height), round(0.15 * width) : round(0.85 * width)] = True
    known = middle if batch.objects is None else batch.objects
    known = torch.where(known.flatten(1).any(1)[:, None, None], known, middle)
    columns, rows = known.any(1), known.any(2)
    left, top = columns.float().argmax(1), rows.float().argmax(1)
    right, bottom = width - columns.flip(1).float().argmax(1), height - rows.flip(1).float().argmax(1)
    return left.float(), top.float(), right.float(), bottom.float()


PERTURBATIONS = (
    Perturbation("occluded", "covered", cover),
    Perturbation("occluded", "cut", cut),
    Perturbation("occluded", "shrunk", shrink),
)
