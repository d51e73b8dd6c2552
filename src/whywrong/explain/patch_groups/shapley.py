"""Shapley values of patches, estimated by sampling.

Source: Castro, Gomez and Tejada 2009 (permutations); random contexts are drawn as in Sumiyasu et al. 2024.
"""

from __future__ import annotations

import torch
from torch import Tensor

from whywrong.core.checks import check_keys
from whywrong.core.randomness import keyed_bits, keyed_uniform
from whywrong.explain.masking.games import Game
from whywrong.explain.masking.shapley import check_times, permutation_values
from whywrong.explain.patch_groups.game import column

_CONTEXTS = 12  # random streams of an image's keys, distinct from those of permutations and interactions
_SIZES = 13


def shapley_values(game: Game, value: str, keys: Tensor, permutations: int = 20) -> Tensor:
    """Estimate Shapley values from random permutations.

    Each permutation gives one marginal contribution of every player.

    Args:
        game: Values of sets.
        value: Name of the value to attribute.
        keys: (B,) int64, seed of each image's permutations.
        permutations: P, at least 1. They evaluate P (n - 1) sets per image, plus the empty and the full set once.

    Returns:
        (B, n) float64; rows sum to v(N) - v(empty set).

    Raises:
        InputError: An argument breaks the contract above.
    """
    at = column(game, value)
    return permutation_values(game, keys, permutations)[:, :, at]


def shapley_by_contexts(game: Game, value: str, keys: Tensor, contexts: int = 20) -> Tensor:
    """Estimate Shapley values by random contexts of one size per repetition.

    Nearly as in the published code of MoXI, which uses one context size for all players in a repetition.

    There the size is int(u (n - 1)), u uniform in (0, 1), which is never n - 1 and so biases the estimate; here it is
    int(u n), uniform on 0..n - 1.

    Args:
        game: Values of sets.
        value: Name of the value to attribute.
        keys: (B,) int64, seed of each image's contexts.
        contexts: Repetitions, at least 1. Each evaluates 2 n sets.

    Returns:
        (B, n) float64; every player has its own context in each repetition.

    Raises:
        InputError: An argument breaks the contract above.
    """
    check_keys(keys, game.images)
    check_times(contexts, "contexts")
    keys = keys.cpu()
    at, (images, players) = column(game, value), (game.images, game.players)
    rows = torch.arange(images).repeat_interleave(2 * players)
    self_ = torch.eye(players, dtype=torch.bool)
    total = torch.zeros(images, players, dtype=torch.float64)
    for draw in range(contexts):
        size = (keyed_uniform(keys, (1,), (_SIZES << 40) + draw)[:, 0] * players).long()
        bits = keyed_bits(keys, (players, players), (_CONTEXTS << 40) + draw)
        bits = bits.masked_fill(self_, torch.iinfo(torch.int64).max)  # a player is last in its own row, never drawn
        context = bits.argsort(2).argsort(2) < size[:, None, None]  # (B, n, n)
        masks = torch.stack([context, context | self_], 2)  # (B, n, 2, n)
        found = game.values(masks.flatten(0, 2), rows)[:, at].view(images, players, 2)
        total += found[:, :, 1] - found[:, :, 0]
    return total / contexts
