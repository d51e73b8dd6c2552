"""Shapley values of patches, estimated by sampling.

Source: Castro, Gomez and Tejada 2009 (permutations); random contexts are drawn as in Sumiyasu et al. 2024.
"""

from __future__ import annotations

import torch
from torch import Tensor

from whywrong.core.checks import check_keys
from whywrong.core.errors import InputError
from whywrong.core.randomness import keyed_bits, keyed_uniform
from whywrong.explain.masking.games import Game
from whywrong.explain.patch_groups.game import column

_PERMUTATIONS = 11  # random streams of an image's keys, distinct from those of interactions
_CONTEXTS = 12
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
    _check(game, keys, permutations, "permutations")
    keys = keys.cpu()  # games take sets and return values on the CPU
    at, (images, players) = column(game, value), (game.images, game.players)
    everyone = torch.arange(images)
    ends = torch.zeros(2 * images, players, dtype=torch.bool)
    ends[images:] = True
    nobody, whole = game.values(ends, everyone.repeat(2))[:, at].split(images)
    total = torch.zeros(images, players, dtype=torch.float64)
    for draw in range(permutations):
        order = keyed_bits(keys, (players,), (_PERMUTATIONS << 40) + draw).argsort(1)
        rank = order.argsort(1)  # (B, n), position of each player
        masks = rank[:, None, :] < torch.arange(1, players)[:, None]  # (B, n - 1, n)
        chain = game.values(masks.flatten(0, 1), everyone.repeat_interleave(players - 1))[:, at].view(images, -1)
        steps = torch.cat([nobody[:, None], chain, whole[:, None]], 1).diff(dim=1)  # (B, n), by position
        total += steps.gather(1, rank)
    return total / permutations


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
    _check(game, keys, contexts, "contexts")
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


def _check(game: Game, keys: Tensor, times: int, what: str) -> None:
    check_keys(keys, game.images)
    if isinstance(times, bool) or not isinstance(times, int) or times < 1:
        raise InputError(f"{what} must be at least 1, got {times!r}")
