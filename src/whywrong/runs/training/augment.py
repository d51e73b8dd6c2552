"""Random shifts and flips of a batch, from a generator."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def shift_and_flip(x: Tensor, generator: torch.Generator, *, shift: int, flip: bool) -> Tensor:
    """Move images by up to ``shift`` pixels in both directions, and mirror half of them.

    The border is filled by reflection.

    Args:
        x: (B, C, H, W).
        generator: On the CPU.
        shift: Pixels, below both sides of the images.
        flip: Whether images are mirrored.
    """
    if flip:
        mirrored = torch.rand(len(x), generator=generator) < 0.5
        x = torch.where(mirrored[:, None, None, None], x.flip(3), x)
    if shift == 0:
        return x
    padded = nn.functional.pad(x, (shift,) * 4, mode="reflect")
    down, right = torch.randint(0, 2 * shift + 1, (2, len(x), 1), generator=generator)
    height, width = torch.arange(x.shape[2]), torch.arange(x.shape[3])
    rows, columns = (down + height)[:, None, :, None], (right + width)[:, None, None, :]  # (B, 1, H, 1), (B, 1, 1, W)
    batch, channel = torch.arange(len(x))[:, None, None, None], torch.arange(x.shape[1])[None, :, None, None]
    return padded[batch, channel, rows, columns]
