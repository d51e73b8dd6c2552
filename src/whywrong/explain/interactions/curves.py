"""Signed curves at low cost, and maps of single players.

By identity (c) the mean of I^(s) over all pairs is F(s+2) - 2 F(s+1) + F(s), F(k) the mean value of sets of k players.
A draw of the three is a star: a set of s players, the same with each one of q more, and with each two of them. A star
costs 1 + q + q (q-1) / 2 passes and is as informative as q (q-1) / 2 draws of D, while a chain of three nested sets has
the differences between players as noise, many times as large as D. By identity (b) the mean of I^(s)(i, j) over j is
phi^(s+1)(i) - phi^(s)(i). Both concern all pairs, not only those within a radius.

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
from whywrong.explain.interactions.coalitions import Plan, draw_sets, permutations
from whywrong.explain.interactions.draws import MOST_MASKS, image_blocks
from whywrong.explain.interactions.pairs import check_orders
from whywrong.explain.interactions.random_streams import MARGINALS, PERMUTATIONS
from whywrong.explain.interactions.strengths import jackknife_se
from whywrong.explain.masking.games import Game

ARMS = 4  # q: more would share one set of s players among too many draws


@dataclass(frozen=True, slots=True)
class SignedMeans:
    """Mean interaction over all pairs.

    Attributes:
        mean: (B, R, V), signed, by order.
        se: (B, R, V), standard error over permutations.
        permutations: Number of independent draws.
    """

    mean: Tensor
    se: Tensor
    permutations: int


def signed_means(
    game: Game, orders: Sequence[int], *, keys: Tensor | None = None, draws: int = 8, seed: int = 0
) -> SignedMeans:
    """Estimate the mean of I^(s) over all pairs from stars of random permutations.

    Args:
        game: The values.
        orders: R different orders in 0..n-2.
        keys: (B,) int64; None uses (seed, row).
        draws: Permutations, at least 2; the same for all orders, so that neighbouring ones have common noise. Each
            costs :func:`passes_of_signed_means` / ``draws`` passes.
        seed: For the default keys.

    Raises:
        InputError: An argument breaks the contract above.
    """
    keys = _checked(game, orders, keys, seed, draws)
    ring = permutations(keys, game.players, draws, PERMUTATIONS).argsort(-1)  # (B, draws, n), players in their order
    found = torch.empty(game.images, draws, len(orders), len(game.names), dtype=torch.float64)
    for number, order in enumerate(orders):
        step = max(1, MOST_MASKS // (game.images * _star(game.players, order)))
        for start in range(0, draws, step):
            some = slice(start, start + step)
            found[:, some, number] = _stars(game, ring[:, some], order)
    nothing = found.abs().mean(1) <= game.rounding()[:, None, None]  # what is left is rounding, or exactly 0
    mean, se = found.mean(1), found.std(1) / math.sqrt(draws)
    return SignedMeans(mean.masked_fill(nothing, 0.0), se.masked_fill(nothing, 0.0), draws)


def passes_of_signed_means(players: int, orders: Sequence[int], draws: int) -> int:
    """Count the passes per image that :func:`signed_means` takes."""
    return draws * sum(_star(players, order) for order in orders)


def _star(players: int, order: int) -> int:
    edges = _edges(players, order)
    return 1 + edges + edges * (edges - 1) // 2


def _edges(players: int, order: int) -> int:
    return min(ARMS, players - min(order, players - 2 - order))


def _stars(game: Game, ring: Tensor, order: int) -> Tensor:
    """Compute the mean of D over the pairs of edges, (B, d, V), of stars (B, d, n)."""
    n, size = game.players, min(order, game.players - 2 - order)
    edges = _edges(n, order)
    base = torch.zeros(*ring.shape[:2], 1, n, dtype=torch.bool).scatter_(3, ring[:, :, None, :size], True)
    if size != order:
        base = ~base  # players are taken from order + 2 of them
    pairs = torch.combinations(torch.arange(edges))
    toggled = torch.cat([torch.eye(edges, dtype=torch.bool), torch.zeros(len(pairs), edges, dtype=torch.bool)])
    toggled[edges:].scatter_(1, pairs, True)  # (stars' sets, edges)
    chosen = ring[:, :, None, size : size + edges].expand(-1, -1, len(toggled), -1)
    change = torch.zeros(*ring.shape[:2], len(toggled), n, dtype=torch.bool)
    change.scatter_(3, chosen, toggled.expand_as(chosen))
    values = game(torch.cat([base, base ^ change], 2).flatten(1, 2)).unflatten(1, (ring.shape[1], -1))
    centre, one, two = values[:, :, 0], values[:, :, 1 : 1 + edges], values[:, :, 1 + edges :]
    return two.mean(2) - 2 * one.mean(2) + centre


@dataclass(frozen=True, slots=True)
class PlayerMaps:
    """Contributions of single players at each order.

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
    """Compute order-s Shapley values of all players, and their differences.

    The differences are over the order.

    Args:
        game: The values.
        orders: R different orders in 0..n-2.
        keys: (B,) int64; None uses (seed, row).
        draws: Sets of each size, at least 2; all sets are taken if there are no more. A set of m players costs 1 + n -
            m passes, and a set of n - 1 - m costs as many. Sets of all sizes come from the same permutations, so that
            neighbouring orders differ by little more than their interaction.
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
    """Compute the four maps of :class:`PlayerMaps` for a block of images."""
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
    """Return the gains of the players outside each set C.

    Also returns where they are known; gains are (b, U, n, V), known ones (b, U, n, 1).
    """
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
    """Return the mean (B, n, V) and the jackknife replicates (B, U, n, V)."""
    all_total, all_count = total.sum(1), count.sum(1)
    return all_total / all_count, (all_total[:, None] - total) / (all_count[:, None] - count)


def _checked(game: Game, orders: Sequence[int], keys: Tensor | None, seed: int, draws: int) -> Tensor:
    check_orders(orders, game.players)
    if draws < 2:
        raise InputError(f"draws must be at least 2, for a standard error, got {draws}")
    keys = row_keys(seed, game.images) if keys is None else keys
    check_keys(keys, game.images)
    return keys.cpu()
