"""Patterns at the surface of a ball that often make an error right without any feedback."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn.functional import interpolate

from whywrong.core.randomness import keyed_sign

_KINDS = 4
_BLOCKS = (8, 4, 2)  # along the shorter side


def pattern(keys: Tensor, shape: Sequence[int], number: int) -> Tensor:
    """Draw a pattern of -1 and +1 for each image.

    Args:
        keys: (n,), int64.
        shape: (C, H, W).
        number: Of the pattern: vertical stripes, horizontal stripes, coarse blocks and one sign per channel take turns.

    Returns:
        (n, C, H, W).
    """
    channels, height, width = shape
    kind, turn = number % _KINDS, number // _KINDS
    if kind == 0:
        sign = keyed_sign(keys, (channels, 1, width), number)
    elif kind == 1:
        sign = keyed_sign(keys, (channels, height, 1), number)
    elif kind == 2:
        blocks = _BLOCKS[turn % len(_BLOCKS)]
        sign = interpolate(keyed_sign(keys, (channels, blocks, blocks), number), (height, width))
    else:
        sign = keyed_sign(keys, (channels, 1, 1), number)
    return sign.expand(len(keys), channels, height, width)
