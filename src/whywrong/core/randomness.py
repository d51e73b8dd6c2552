"""Keyed randomness, in which every image draws from its own stream, independent of its batch.

The generator is counter-based (SplitMix64, Steele, Lea and Flood 2014): value = mix(key, draw, element). It is
computed for all images at once, has no state, and gives the same bits on every device and batch split.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

import torch
from torch import Tensor

_GAMMA = 0x9E3779B97F4A7C15 - (1 << 64)  # as signed 64-bit integers, which torch multiplies modulo 2^64
_MIX_1 = 0xBF58476D1CE4E5B9 - (1 << 64)
_MIX_2 = 0x94D049BB133111EB - (1 << 64)


def row_keys(seed: int, batch: int, device: torch.device | str = "cpu") -> Tensor:
    """Make int64 keys (B,) from seed and row, the default if no keys are given."""
    return _mix(_mix(torch.full((batch,), seed, dtype=torch.int64, device=device)) + torch.arange(batch, device=device))


def item_keys(seed: int, item_ids: Sequence[str], method: str) -> Tensor:
    """Hash (seed, item, method) to int64 keys (B,), which runs pass to methods."""
    digests = (hashlib.blake2b(f"{seed}/{method}/{item}".encode(), digest_size=8).digest() for item in item_ids)
    return torch.tensor([int.from_bytes(d, "little", signed=True) for d in digests], dtype=torch.int64)


def keyed_bits(keys: Tensor, shape: Sequence[int], draw: int = 0) -> Tensor:
    """Draw 64 random bits per element, int64 (B, *shape).

    Args:
        keys: (B,) int64.
        shape: Shape of the values of one row.
        draw: Number of the draw; each gives an independent set.
    """
    start = _mix(_mix(keys) + draw)
    element = torch.arange(1, math.prod(shape) + 1, device=keys.device) * _GAMMA
    return _mix(start[:, None] + element).view(len(keys), *shape)


def keyed_uniform(keys: Tensor, shape: Sequence[int], draw: int = 0) -> Tensor:
    """Draw float32 values (B, *shape), uniform in (0, 1), never 0 or 1."""
    bits = _shift(keyed_bits(keys, shape, draw), 41)  # 23 bits, so that the half added below stays exact
    return bits.float().add_(0.5).mul_(2.0**-23)


def keyed_sign(keys: Tensor, shape: Sequence[int], draw: int = 0) -> Tensor:
    """Draw float32 values (B, *shape), -1 or +1 with equal probability."""
    return 1.0 - 2.0 * _shift(keyed_bits(keys, shape, draw), 63).float()


def keyed_normal(keys: Tensor, shape: Sequence[int], draw: int = 0) -> Tensor:
    """Draw standard normal float32 values (B, *shape) by the Box-Muller method."""
    bits = keyed_bits(keys, shape, draw)
    radius = _shift(bits, 41).float().add_(0.5).mul_(2.0**-23)
    angle = bits.bitwise_and_(0x7FFFFF).float().mul_(2 * math.pi * 2.0**-23)
    return radius.log_().mul_(-2).sqrt_().mul_(angle.cos_())


def _shift(z: Tensor, bits: int) -> Tensor:
    """Shift right logically, as torch shifts signed integers arithmetically."""
    return (z >> bits).bitwise_and_((1 << (64 - bits)) - 1)


def _mix(z: Tensor) -> Tensor:
    z = _shift(z, 30).bitwise_xor_(z).mul_(_MIX_1)  # in place on new tensors: memory bandwidth limits the speed
    z = _shift(z, 27).bitwise_xor_(z).mul_(_MIX_2)
    return _shift(z, 31).bitwise_xor_(z)
