"""Exact interactions and Shapley values by enumeration of all sets: the oracle of the estimators.

Source: the definitions in Deng et al. 2022, section 3, and Grabisch and Roubens 1999 (Shapley interaction index).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from whywrong.core.errors import InputError
from whywrong.explain.interactions.pairs import all_pairs
from whywrong.explain.masking.games import Game, TableGame

MOST_PLAYERS = 12


def all_sets(players: int) -> Tensor:
    """(2^n, n) bool: set number c holds player i where bit i of c is 1."""
    return (torch.arange(1 << players)[:, None] >> torch.arange(players)) & 1 == 1


def enumerate_game(game: Game, most: int = MOST_PLAYERS) -> TableGame:
    """Evaluate every set of every image once, 2^n passes an image.

    Raises:
        InputError: More than ``most`` players.
    """
    if isinstance(game, TableGame):
        return game
    if game.players > most:
        raise InputError(f"{game.players} players have 2^{game.players} sets; at most {most} players are enumerated")
    sets = all_sets(game.players)
    return TableGame(game(sets.expand(game.images, -1, -1)), game.names)


def exact_interactions(game: TableGame, pairs: Tensor | None = None) -> Tensor:
    """(B, n-1, P, V): I^(s)(i, j), the mean over all sets S of s others of v(S+i+j) - v(S+i) - v(S+j) + v(S).

    Args:
        game: All values.
        pairs: (P, 2) int64; None takes all pairs i < j.
    """
    n = game.players
    size = all_sets(n).sum(1)
    number = torch.tensor([math.comb(n - 2, s) for s in range(n - 1)], dtype=torch.float64)
    return _over_pairs(game, pairs, lambda d, s: _sum_by_size(d, size[s], n - 1) / number[:, None])


def exact_shapley_interactions(game: TableGame, pairs: Tensor | None = None) -> Tensor:
    """(B, P, V): the Shapley interaction index, by its own weights |S|! (n-|S|-2)! / (n-1)!."""
    n = game.players
    size = all_sets(n).sum(1)
    weight = torch.tensor([1 / ((n - 1) * math.comb(n - 2, s)) for s in range(n - 1)], dtype=torch.float64)
    return _over_pairs(game, pairs, lambda d, s: (d * weight[size[s], None]).sum(1))


def exact_order_shapley(game: TableGame) -> Tensor:
    """(B, n, n, V): phi^(s)(i), the mean over all sets S of s others of v(S+i) - v(S); order s first, then player i."""
    n = game.players
    size = all_sets(n).sum(1)
    codes = torch.arange(1 << n)
    number = torch.tensor([math.comb(n - 1, s) for s in range(n)], dtype=torch.float64)
    maps = []
    for i in range(n):
        without = codes[codes >> i & 1 == 0]
        gain = game.table[:, without | 1 << i] - game.table[:, without]
        maps.append(_sum_by_size(gain, size[without], n) / number[:, None])
    return torch.stack(maps, 2)


def exact_shapley(game: TableGame) -> Tensor:
    """(B, n, V): Shapley values, the plain mean over s of the order-s values."""
    return exact_order_shapley(game).mean(1)


def exact_mean_curve(game: TableGame) -> Tensor:
    """(B, n+1, V): F(k), the mean value of all sets of k players."""
    n = game.players
    number = torch.tensor([math.comb(n, k) for k in range(n + 1)], dtype=torch.float64)
    return _sum_by_size(game.table, all_sets(n).sum(1), n + 1) / number[:, None]


def _over_pairs(game: TableGame, pairs: Tensor | None, finish: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """``finish`` of D(i, j, S), (B, 2^(n-2), V), and the codes of S, stacked over pairs on the last axis but one."""
    table, codes, found = game.table, torch.arange(1 << game.players), []
    for i, j in (all_pairs(game.players) if pairs is None else pairs).tolist():
        one, two = 1 << i, 1 << j
        s = codes[codes & (one | two) == 0]
        found.append(finish(table[:, s | one | two] - table[:, s | one] - table[:, s | two] + table[:, s], s))
    return torch.stack(found, -2)


def _sum_by_size(values: Tensor, size: Tensor, sizes: int) -> Tensor:
    """(B, sizes, V) of values (B, M, V)."""
    return values.new_zeros(len(values), sizes, values.shape[2]).index_add_(1, size, values)
