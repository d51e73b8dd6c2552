"""The permutation null of dissection, in which masks are exchanged between images.

The best of many concepts has a high overlap even by chance. Masks of other images keep their shape and their place, so
the null also covers units that only prefer a part of the image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whywrong.core.errors import InputError


@dataclass(frozen=True, slots=True, eq=False)
class Null:
    """Best overlap of each unit beside what chance gives.

    Attributes:
        observed: (U,), float64, best intersection over union on the images of the test.
        expected: (U,), float64, mean of the best one over permutations.
        p: (U,), float64, share of permutations (with the observed one) that reach the observed value.
    """

    observed: Tensor
    expected: Tensor
    p: Tensor


def permutation_null(active: Tensor, masks: Tensor, *, permutations: int = 200, seed: int = 0) -> Null:
    """Compare the best overlap of each unit with that of exchanged masks.

    Args:
        active: (N, U, P), 0 or 1.
        masks: (N, C, P), bool, pixels of no interest already cleared.
        permutations: Number of permutations of the images.
        seed: Of the permutations.

    Raises:
        InputError: There are fewer than two images.
    """
    if len(active) < 2 or len(active) != len(masks):
        raise InputError(
            f"the permutation null needs as many maps as masks, at least 2, got {len(active)}, {len(masks)}"
        )
    units = active.float().movedim(1, 0).flatten(1)  # (U, N P)
    inside = masks.to(units.device).float()
    sizes, areas = units.sum(1).double(), inside.sum((0, 2)).double()

    def best(order: Tensor | slice) -> Tensor:
        both = (units @ inside[order].movedim(1, 0).flatten(1).T).double()
        return (both / (sizes[:, None] + areas - both).clamp_min(1)).amax(1)

    rng = np.random.default_rng(seed)
    observed = best(slice(None))
    reached, total = torch.ones_like(observed), torch.zeros_like(observed)
    for _ in range(permutations):
        found = best(torch.from_numpy(rng.permutation(len(active))).to(units.device))
        reached += found >= observed
        total += found
    return Null(observed, total / max(permutations, 1), reached / (permutations + 1))
