"""Test whether a classifier in half precision is precise enough for interactions.

D is a small difference of four large values. A few contexts are evaluated by the classifier and by a copy of it in
float32. With 8 bits of mantissa (bfloat16) the rounding of log-odds of size 10 is as large as many interactions; with
11 bits (float16) it often is not.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from whywrong.core.errors import ModelError
from whywrong.core.randomness import keyed_bits, row_keys
from whywrong.explain.masking.games import Game
from whywrong.models.classifier import Classifier

MOST_ERROR = 0.05
_CONTEXTS = 64
_RATIOS = (0.1, 0.5, 0.9)
_REDUCED = (torch.float16, torch.bfloat16)


def reduced_precision(module: nn.Module | None) -> torch.dtype | None:
    """Find the dtype of the first half-precision weight, None if there is none."""
    weights = () if module is None else module.parameters()
    return next((weight.dtype for weight in weights if weight.dtype in _REDUCED), None)


def in_float32(classifier: Classifier) -> Classifier:
    """Copy a classifier and its module with float32 weights and arithmetic."""
    assert classifier.module is not None
    return Classifier(
        copy.deepcopy(classifier.module).float(),
        preprocess=classifier.preprocess,
        access=classifier.access,
        output=classifier.output,
        device=classifier.device,
        precision=classifier.precision,
        batch_size=classifier.batch_size,
    )


def check_precision(game: Game, reference: Game, dtype: torch.dtype) -> None:
    """Refuse half precision whose rounding is a large part of the interactions.

    Compares D of the first image of two games in 64 contexts at a low, a middle and a high order.

    Args:
        game: Game of the classifier.
        reference: Game of its copy in float32.
        dtype: Name of the precision in the message.

    Raises:
        ModelError: They differ by more than 5 % of the standard deviation of D, in the mean square.
    """
    for ratio in _RATIOS:
        order = int(ratio * (game.players - 2))
        sets = _contexts(game.players, order, -(-_CONTEXTS // len(_RATIOS)))
        found, expected = _second_differences(game, sets), _second_differences(reference, sets)
        error = (found - expected).square().mean(0).sqrt()  # (V,)
        allowed = MOST_ERROR * expected.std(0)
        bad = (error > allowed).nonzero().flatten()
        if len(bad):
            worst = int(bad[0])
            raise ModelError(
                f"in {str(dtype).removeprefix('torch.')} interactions of order {order} ({game.names[worst]}) differ "
                f"from float32 by {float(error[worst]):.2g}, more than 5 % of their standard deviation "
                f"{float(expected.std(0)[worst]):.2g}: load the model in float32"
            )


def _contexts(players: int, order: int, count: int) -> Tensor:
    """Draw random sets and pairs as (4 count, n) bool, in the order S, S+i, S+j, S+i+j."""
    place = keyed_bits(row_keys(0, 1), (count, players)).argsort(-1)[0]
    nested = [place < order, place < order + 1, (place < order) | (place == order + 1), place < order + 2]
    return torch.cat(nested)


def _second_differences(game: Game, sets: Tensor) -> Tensor:
    """Compute second differences (count, V)."""
    s, one, other, both = game.values(sets, torch.zeros(len(sets), dtype=torch.int64)).chunk(4)
    return both - one - other + s
