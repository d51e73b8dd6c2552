"""Games whose interactions are known in closed form, and random ones."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from whywrong.core.randomness import keyed_normal, row_keys


def sets(players: int) -> Tensor:
    """(2^n, n) int64, counted up, player 0 the lowest bit; written apart from the library's own."""
    rows = [[int(digit) for digit in reversed(format(code, f"0{players}b"))] for code in range(2**players)]
    return torch.tensor(rows)


def table(players: int, rule: Callable[[list[int]], float]) -> Tensor:
    """(1, 2^n) float64 of a rule from 0/1 lists to values."""
    return torch.tensor([[rule(row) for row in sets(players).tolist()]], dtype=torch.float64)


def random_tables(images: int, players: int, seed: int = 0) -> Tensor:
    """(B, 2^n) float64, standard normal."""
    return keyed_normal(row_keys(seed, images), (2**players,)).double()


def smooth_table(players: int, seed: int = 0) -> Tensor:
    """(1, 2^n) float64: main effects, pair terms and a saturating sum, as a classifier might have them."""
    x = sets(players).double()
    draws = keyed_normal(row_keys(seed, 3), (players, players)).double()
    linear = x @ draws[0, 0] / 2
    pairs = torch.einsum("qi,ij,qj->q", x, draws[1] / players, x)
    return (3 * torch.tanh(linear + pairs) + (x @ draws[2, 0]).square() / players)[None]


def choose(n: int, k: int) -> int:
    """Binomial coefficient, 0 outside of the triangle."""
    return math.comb(n, k) if 0 <= k <= n else 0
