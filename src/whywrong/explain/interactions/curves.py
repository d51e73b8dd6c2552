"""Signed curves nearly for free, and maps of single players.

By identity (c) the mean of I^(s) over all pairs is F(s+2) - 2 F(s+1) + F(s), F(k) the mean value of sets of k players:
three nested sets a draw. By identity (b) the mean of I^(s)(i, j) over j is phi^(s+1)(i) - phi^(s)(i). Both are
statements about all pairs, not about those within a radius.
Source: Yao et al. 2023 for (b); (c) is the mean of (b) over players.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from whywrong.core.checks import check_keys
from whywrong.core.errors import InputError
from whywrong.core.randomness import row_keys
from whywrong.explain.interactions.contexts import Plan, draw_sets, permutations
from whywrong.explain.interactions.draws import MOST_MASKS, image_blocks
from whywrong.explain.interactions.games import Game
from whywrong.explain.interactions.pairs import check_orders
from whywrong.explain.interactions.streams import MARGINALS, PERMUTATIONS
from whywrong.explain.interactions.strengths import jackknife_se


@dataclass(frozen=True, slots=True)
class SignedMeans:
    """Mean interaction over all pairs.

    Attributes:
        mean: (B, R, V), signed, by order.
        se: (B, R, V), standard error over permutations; 0 where all three sizes have one set only.
        permutations: Number of independent draws.
    """

    mean: Tensor
    se: Tensor
    permutations: int


def signed_means(
    game: Game, orders: Sequence[int], *, keys: Tensor | None = None, draws: int = 32, seed: int = 0
) -> SignedMeans:
    """Mean over all pairs of I^(s), from nested sets of random permutations.

    Args:
        game: The values.
        orders: R different orders in 0..n-2.
        keys: (B,) int64; default (seed, row).
        draws: Permutations, at least 2; each costs as many passes as there are different sizes among s, s+1, s+2. The
            empty and the full set are asked once.
        seed: For the default keys.

    Raises:
        InputError: An argument breaks the contract above.
    """
    keys = _checked(game, orders, keys, seed, draws)
    n = game.players
    sizes = _sizes(orders)
    place = permutations(keys, n, draws, PERMUTATIONS)  # (B, draws, n)
    curve = torch.empty(game.images, draws, len(sizes), len(game.names), dtype=torch.float64)
    inner = [number for number, size in enumerate(sizes) if 0 < size < n]
    step = max(1, MOST_MASKS // (game.images * max(1, len(inner))))
    if inner:
        limits = torch.tensor([sizes[number] for number in inner])[:, None]
        for start in range(0, draws, step):
            sets = place[:, start : start + step, None] < limits  # (B, d, sizes, n)
            curve[:, start : start + step, inner] = game(sets.flatten(1, 2)).unflatten(1, sets.shape[1:3])
    for number, size in enumerate(sizes):
        if size in (0, n):
            curve[:, :, number] = game(torch.full((game.images, 1, n), size == n))
    at = {size: number for number, size in enumerate(sizes)}
    second = torch.stack([curve[:, :, at[s + 2]] - 2 * curve[:, :, at[s + 1]] + curve[:, :, at[s]] for s in orders], 2)
    return SignedMeans(second.mean(1), second.std(1) / math.sqrt(draws), draws)


def passes_of_signed_means(players: int, orders: Sequence[int], draws: int) -> int:
    """Passes an image that :func:`signed_means` takes."""
    sizes = _sizes(orders)
    ends = sum(size in (0, players) for size in sizes)
    return draws * (len(sizes) - ends) + ends


def _sizes(orders: Sequence[int]) -> list[int]:
    return sorted({order + more for order in orders for more in (0, 1, 2)})


@dataclass(frozen=True, slots=True)
class PlayerMaps:
    """What single players do at each order.

    Attributes:
        shapley: (B, R, n, V), phi^(s)(i), mean gain of player i in sets of s others.
        shapley_se: (B, R, n, V), standard error.
        interaction: (B, R, n, V), mean over j of I^(s)(i, j) = phi^(s+1)(i) - phi^(s)(i).
        interaction_se: (B, R, n, V), standard error.
    """

    shapley: Tensor
    shapley_se: Tensor
    interaction: Tensor
    interaction_se: Tensor


def player_maps(
    game: Game, orders: Sequence[int], *, keys: Tensor | None = None, draws: int = 16, seed: int = 0
) -> PlayerMaps:
    """Order-s Shapley values of all players, and their differences over the order.

    Args:
        game: The values.
        orders: R different orders in 0..n-2.
        keys: (B,) int64; default (seed, row).
        draws: Sets of each size, at least 2; all sets are taken where there are no more. A set of m players costs
            1 + n - m passes, and as many serve sets of n - 1 - m. Sets of all sizes come from the same permutations,
            so that neighbouring orders differ by little more than their interaction.
        seed: For the default keys.

    Returns:
        The maps; NaN for a player that every set of an order holds.

    Raises:
        InputError: An argument breaks the contract above.
    """
    keys = _checked(game, orders, keys, seed, draws)
    n = game.players
    parts = [
        _maps(game, torch.arange(block.start, block.stop), keys[block], orders, draws)
        for block in image_blocks(game.images, draws * n, draws * (n + 1), 1, len(game.names))
    ]
    return PlayerMaps(*(torch.cat(columns) for columns in zip(*parts, strict=True)))


def _maps(game: Game, rows: Tensor, keys: Tensor, orders: Sequence[int], draws: int) -> list[Tensor]:
    """The four maps of :class:`PlayerMaps`, of a block of images."""
    sizes = sorted({order + more for order in orders for more in (0, 1)})
    place = permutations(keys, game.players, draws, MARGINALS)
    phi = {size: _leave_one_out(*_gains(game, rows, place, size)) for size in sizes}
    shapley = [phi[s] for s in orders]
    interaction = [(phi[s + 1][0] - phi[s][0], phi[s + 1][1] - phi[s][1]) for s in orders]
    return [
        column
        for kind in (shapley, interaction)
        for column in (
            torch.stack([mean for mean, _ in kind], 1),
            torch.stack([jackknife_se(left) for _, left in kind], 1),
        )
    ]


def _gains(game: Game, rows: Tensor, place: Tensor, order: int) -> tuple[Tensor, Tensor]:
    """Gain (b, U, n, V) of the players outside of each set C, and where it is known, (b, U, n, 1)."""
    n, units = game.players, place.shape[1]
    size = min(order, n - 1 - order)
    mirror = size != order
    every = math.comb(n, size)
    exact = every <= units
    small = draw_sets(rows, n, Plan(order, size, mirror, 1, every, True))[:, 0] if exact else place < size  # (b, U, n)
    outside = ~small
    where = outside.nonzero()  # (Q, 3)
    base = outside if mirror else small
    toggled = base[where[:, 0], where[:, 1]]
    toggled[torch.arange(len(toggled)), where[:, 2]] ^= True
    before = game.values(base.flatten(0, 1), rows.repeat_interleave(base.shape[1])).unflatten(0, base.shape[:2])
    change = game.values(toggled, rows[where[:, 0]]) - before[where[:, 0], where[:, 1]]
    gain = torch.zeros(*outside.shape, change.shape[1], dtype=torch.float64)
    gain[where[:, 0], where[:, 1], where[:, 2]] = -change if mirror else change
    known = outside.double()[..., None]
    if exact:  # the mean over all sets, as if every unit had found it
        mean = gain.sum(1, keepdim=True) / known.sum(1, keepdim=True)
        return mean.expand(-1, units, -1, -1), torch.ones(1, units, 1, 1, dtype=torch.float64)
    return gain, known


def _leave_one_out(total: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (B, n, V) and replicates (B, U, n, V)."""
    all_total, all_count = total.sum(1), count.sum(1)
    return all_total / all_count, (all_total[:, None] - total) / (all_count[:, None] - count)


def _checked(game: Game, orders: Sequence[int], keys: Tensor | None, seed: int, draws: int) -> Tensor:
    check_orders(orders, game.players)
    if draws < 2:
        raise InputError(f"draws must be at least 2, for a standard error, got {draws}")
    keys = row_keys(seed, game.images) if keys is None else keys
    check_keys(keys, game.images)
    return keys.cpu()
