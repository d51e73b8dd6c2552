"""Random changes of training images under which an answer is kept."""

from __future__ import annotations

import torch
from torch import Tensor

SHIFT = 1 / 8  # largest shift, as a share of the side


def augment(x: Tensor, generator: torch.Generator, *, flip: bool) -> Tensor:
    """Shift each image by up to an eighth of its side, mirrored at the border, and mirror half of them.

    Args:
        x: (B, C, H, W).
        generator: On the CPU; the same numbers on every device.
        flip: Whether to mirror left and right.
    """
    height, width = x.shape[2:]
    batch = torch.arange(len(x), device=x.device)[:, None, None, None]
    channel = torch.arange(x.shape[1], device=x.device)[None, :, None, None]
    rows, columns = (_shifted(side, len(x), generator).to(x.device) for side in (height, width))
    if flip:
        mirrored = torch.rand(len(x), generator=generator) < 0.5
        columns = torch.where(mirrored[:, None].to(x.device), width - 1 - columns, columns)
    return x[batch, channel, rows[:, None, :, None], columns[:, None, None, :]]


def _shifted(side: int, batch: int, generator: torch.Generator) -> Tensor:
    """Draw shifted positions (B, side), reflected at both ends."""
    most = int(side * SHIFT)
    shift = torch.randint(-most, most + 1, (batch, 1), generator=generator)
    place = (torch.arange(side) + shift).abs()
    return torch.where(place < side, place, 2 * (side - 1) - place)
