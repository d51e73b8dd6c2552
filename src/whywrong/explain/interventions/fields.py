"""Smooth random fields, a change of equal strength that removes and adds nothing in particular."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from whywrong.core.randomness import keyed_normal

_KNOTS = 4  # random values per side


def equal_field(x: Tensor, changed: Tensor, keys: Tensor, draw: int = 0) -> Tensor:
    """Add a smooth random field with the l2 norm of another change of each image.

    Args:
        x: (n, C, H, W), in [0, 1].
        changed: (n, C, H, W), the other change.
        keys: (n,) int64, seed of the fields.
        draw: Number of the draw.

    Returns:
        (n, C, H, W), in [0, 1]; clipping may shorten the change.
    """
    coarse = keyed_normal(keys, (x.shape[1], _KNOTS, _KNOTS), draw).to(x)
    field = F.interpolate(coarse, x.shape[2:], mode="bicubic", align_corners=False)
    norm = (changed - x).flatten(1).norm(dim=1) / field.flatten(1).norm(dim=1).clamp(min=1e-9)
    return (x + field * norm[:, None, None, None]).clamp(0, 1)
