"""The same change with random signs, the control for every share of a type.

Source: ours, docs/methods/suppression.md. A change of equal size in every pixel tells what any change there does to the
two scores; only what differs from it belongs to the direction of the change.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from whywrong.core.randomness import keyed_sign
from whywrong.explain.suppression.effects import Pairs

_SIGNS = 22  # random stream of an image's keys


def with_random_signs(pairs: Pairs, keys: Tensor) -> Pairs:
    """Replace each ``ref`` by ``alt`` with the same change under a random sign for every value.

    A value that would leave [0, 1] keeps its sign, so that every cell keeps the norm of its change.
    """
    back = pairs.ref - pairs.alt
    turned = pairs.alt + keyed_sign(keys, back.shape[1:], _SIGNS << 40) * back
    inside = (turned >= 0) & (turned <= 1)
    return replace(pairs, ref=torch.where(inside, turned, pairs.ref))
