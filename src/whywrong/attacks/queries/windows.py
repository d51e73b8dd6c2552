"""Random square windows and the bumps that the Square attack puts into them."""

from __future__ import annotations

import torch
from torch import Tensor

from whywrong.core.randomness import keyed_sign, keyed_uniform

_TILES = 5  # along each side of the first l2 change


def random_windows(keys: Tensor, side: int, shape: torch.Size, draw: int) -> Tensor:
    """Draw a square window for each image.

    Args:
        keys: (n,), int64.
        side: In pixels, at most the shorter side.
        shape: (n, C, H, W).
        draw: Number of the random draw.

    Returns:
        (n, 1, H, W), bool, whether a pixel is inside.
    """
    room = torch.tensor([shape[2] - side + 1, shape[3] - side + 1], device=keys.device)
    corner = (keyed_uniform(keys, (2,), draw) * room).long()  # (n, 2)
    row = torch.arange(shape[2], device=keys.device) - corner[:, :1]
    col = torch.arange(shape[3], device=keys.device) - corner[:, 1:]
    return ((row >= 0) & (row < side))[:, None, :, None] & ((col >= 0) & (col < side))[:, None, None, :]


def bumps(keys: Tensor, windows: Tensor, side: int, draw: int) -> Tensor:
    """Put a bump of l2 norm 1 into the window of each image, transposed for half of them.

    Returns (n, 1, H, W), zero outside of ``windows`` (n, 1, H, W).
    """
    kernel = _bump(side, keys.device)
    turned = keyed_sign(keys, (1, 1), draw) > 0
    kernels = torch.where(turned, kernel.T, kernel)  # (n, side, side)
    found = torch.zeros(windows.shape, device=keys.device)
    found[windows] = kernels.flatten()
    return found


def tiles(keys: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """Draw a pattern of bumps in 5 x 5 tiles, with random signs and orientations.

    Returns (n, C, H, W).
    """
    channels, height, width = shape
    side = max(2, min(height, width) // _TILES)
    across, down = width // side, height // side
    kernel = _bump(side, keys.device)
    turned = keyed_sign(keys, (1, down, across, 1, 1), 0) > 0
    signs = keyed_sign(keys, (channels, down, across, 1, 1), 1)
    pattern = signs * torch.where(turned, kernel.T, kernel)  # (n, C, down, across, side, side)
    pattern = pattern.permute(0, 1, 2, 4, 3, 5).reshape(len(keys), channels, down * side, across * side)
    found = torch.zeros((len(keys), *shape), device=keys.device)
    top, left = (height - down * side) // 2, (width - across * side) // 2
    found[:, :, top : top + down * side, left : left + across * side] = pattern
    return found


def _bump(side: int, device: torch.device) -> Tensor:
    """Return two opposite peaks of l2 norm 1, one above the other (section 3.3 of the paper)."""
    upper = _peak(side // 2, side, device)
    lower = _peak(side - side // 2, side, device)
    bump = torch.cat([upper, -lower])
    return bump / bump.norm()


def _peak(height: int, width: int, device: torch.device) -> Tensor:
    """Sum centred rectangles of decreasing size, weighted by 1 / k^2, and scale to l2 norm 1."""
    row = (torch.arange(height, device=device) - height // 2).abs()
    col = (torch.arange(width, device=device) - width // 2).abs()
    ring = torch.maximum(row[:, None], col[None, :])
    largest = max(height // 2 + 1, width // 2 + 1)
    weights = torch.tensor([1.0 / k**2 for k in range(1, largest + 1)], device=device)
    # A pixel of ring r lies in the rectangles r, r + 1, ...
    tail = weights.flip(0).cumsum(0).flip(0)
    peak = tail[ring.clamp_max(largest - 1)]
    return peak / peak.norm()
