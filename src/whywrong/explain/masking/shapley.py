"""Shapley values of players, estimated from random permutations.

Source: Castro, Gomez and Tejada 2009; antithetic pairs of permutations, Mitchell, Cooper, Frank and Holmes 2022,
arXiv 2104.12199.
"""

from __future__ import annotations

import torch
from torch import Tensor

from whywrong.core.checks import check_keys
from whywrong.core.errors import InputError
from whywrong.core.randomness import keyed_bits
from whywrong.explain.masking.games import Game

_PERMUTATIONS = 11  # random stream of an image's keys, distinct from those of interactions


def permutation_values(game: Game, keys: Tensor, permutations: int = 20, *, antithetic: bool = False) -> Tensor:
    """Estimate the Shapley values of all value functions of a game.

    Each permutation gives one marginal contribution of every player, so that its values add up exactly.

    Args:
        game: Values of sets.
        keys: (B,) int64, seed of each image's permutations.
        permutations: P, at least 1. They evaluate P (n - 1) sets per image, plus the empty and the full set once.
        antithetic: Whether every second permutation is the reverse of the one before it.

    Returns:
        (B, n, V) float64 on the CPU; sums over players are v(N) - v(empty set).

    Raises:
        InputError: An argument breaks the contract above.
    """
    check_keys(keys, game.images)
    check_times(permutations, "permutations")
    keys = keys.cpu()  # games take sets and return values on the CPU
    images, players = game.images, game.players
    everyone = torch.arange(images)
    ends = torch.zeros(2 * images, players, dtype=torch.bool)
    ends[images:] = True
    nobody, whole = game.values(ends, everyone.repeat(2)).split(images)  # (B, V)
    total = torch.zeros(images, players, len(game.names), dtype=torch.float64)
    for draw in range(permutations):
        stream = draw // 2 if antithetic else draw
        order = keyed_bits(keys, (players,), (_PERMUTATIONS << 40) + stream).argsort(1)
        order = order.flip(1) if antithetic and draw % 2 else order
        rank = order.argsort(1)  # (B, n), position of each player
        masks = rank[:, None, :] < torch.arange(1, players)[:, None]  # (B, n - 1, n)
        chain = game.values(masks.flatten(0, 1), everyone.repeat_interleave(players - 1))
        chain = chain.view(images, players - 1, -1)
        steps = torch.cat([nobody[:, None], chain, whole[:, None]], 1).diff(dim=1)  # (B, n, V), by position
        total += steps.gather(1, rank[:, :, None].expand_as(steps))
    return total / permutations


def check_times(times: int, what: str) -> None:
    """Refuse a number of repetitions below 1.

    Raises:
        InputError: The message names ``what``.
    """
    if isinstance(times, bool) or not isinstance(times, int) or times < 1:
        raise InputError(f"{what} must be at least 1, got {times!r}")
