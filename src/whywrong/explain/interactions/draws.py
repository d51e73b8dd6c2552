"""Measuring D(i, j, S) = v(S+i+j) - v(S+i) - v(S+j) + v(S) for pairs and contexts, and adding it up by pair.

Source: Deng et al. 2022, equation 2. D is symmetric under replacing S by S+i+j and adding by taking away, so one
routine serves contexts that grow and contexts that shrink: it toggles players of a base set.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from whywrong.explain.interactions.contexts import Plan, draw_pair_contexts, draw_sets
from whywrong.explain.interactions.games import Game

MOST_MASKS = 2**17  # sets held at once; of 256 players, 32 MiB
_MOST_SUMS = 2**23  # numbers held at once, 64 MiB


@dataclass(frozen=True, slots=True)
class Sums:
    """Draws of D, added up within independent units.

    Attributes:
        total: (B, U, P, V), sum of D over the draws of a pair in a unit.
        count: (B, U, P), number of these draws.
        absolute: (B, P, V), sum of |D| over all units.
        exact: Whether the draws are all there are, each once.
        ran: (B, U) bool, units that an image has; the others hold zeros. None: all of them.
    """

    total: Tensor
    count: Tensor
    absolute: Tensor
    exact: bool
    ran: Tensor | None = None


def image_blocks(images: int, units: int, masks: int, pairs: int, values: int) -> Iterator[slice]:
    """Slices of images that fit in memory: ``masks`` sets and ``units`` sums an image."""
    step = max(1, min(MOST_MASKS // max(masks, 1), _MOST_SUMS // (units * pairs * values)))
    for start in range(0, images, step):
        yield slice(start, min(start + step, images))


def shared_sums(game: Game, rows: Tensor, keys: Tensor, pairs: Tensor, plan: Plan, ran: Tensor | None = None) -> Sums:
    """Measure every pair outside of each drawn set C: 1 + u + p passes for p draws among u players.

    Args:
        game: The values.
        rows: (b,) int64, images of the game.
        keys: (b,) int64.
        pairs: (b, P, 2) int64.
        plan: Which sets are drawn.
        ran: (b, U, c) bool, which of them an image gets; None for all.
    """
    small = draw_sets(keys, game.players, plan)  # (b, U, c, n)
    ran = torch.ones(small.shape[:3], dtype=torch.bool) if ran is None else ran
    if plan.exact:
        small, ran = small.transpose(1, 2), ran.transpose(1, 2)  # every set for itself while they are measured
    per_block = max(1, MOST_MASKS // (len(rows) * small.shape[2] * (1 + game.players + pairs.shape[1])))
    parts = [
        _toggle(game, rows, block, pairs, used, mirror=plan.mirror)
        for block, used in zip(small.split(per_block, 1), ran.split(per_block, 1), strict=True)
    ]
    total = torch.cat([part.total for part in parts], 1)
    count = torch.cat([part.count for part in parts], 1)
    if plan.exact:
        total, count = total.sum(1, keepdim=True), count.sum(1, keepdim=True)
    absolute = torch.stack([part.absolute for part in parts]).sum(0)
    return Sums(total, count, absolute, plan.exact, None if plan.exact else ran.any(2))


def measurable(small: Tensor, pairs: Tensor) -> tuple[Tensor, Tensor]:
    """What can be measured with sets C: pairs outside of them, (b, U, c, P), and their players, (b, U, c, n); bool."""
    images, units, cuts, n = small.shape
    first, second = (pairs[..., side, None, None].movedim(1, 3).expand(-1, units, cuts, -1) for side in (0, 1))
    outside = ~small
    usable = outside.gather(3, first) & outside.gather(3, second)
    involved = torch.zeros(images, n, dtype=torch.bool).scatter_(1, pairs.flatten(1), True)
    if bool(usable.all()):
        return usable, involved[:, None, None].expand(-1, units, cuts, -1)
    needed = torch.zeros(small.shape, dtype=torch.int32)
    for side in (first, second):
        needed.scatter_add_(3, side, usable.int())
    return usable, needed > 0


def set_passes(small: Tensor, pairs: Tensor) -> Tensor:
    """(b, U, c) int64: passes that the measurement of sets C takes."""
    usable, needed = measurable(small, pairs)
    return 1 + needed.sum(3) + usable.sum(3)


def _toggle(game: Game, rows: Tensor, small: Tensor, pairs: Tensor, ran: Tensor, *, mirror: bool) -> Sums:
    images, units, cuts, n = small.shape
    usable, needed = measurable(small, pairs)
    usable, needed = usable & ran[..., None], needed & ran[..., None]
    first, second = (pairs[:, None, None, :, side].expand(-1, units, cuts, -1) for side in (0, 1))  # (b, U, c, P)
    base = (~small if mirror else small).reshape(-1, n)  # (b U c, n)
    drawn = ran.flatten().nonzero()[:, 0]
    singles = needed.reshape(-1, n).nonzero()  # (Q1, 2): set, player
    doubles = usable.reshape(-1, usable.shape[3]).nonzero()  # (Q2, 2): set, pair
    i, j = (side.reshape(-1, side.shape[3])[doubles[:, 0], doubles[:, 1]] for side in (first, second))
    one = base[singles[:, 0]]
    one[torch.arange(len(one)), singles[:, 1]] ^= True
    two = base[doubles[:, 0]]
    for side in (i, j):
        two[torch.arange(len(two)), side] ^= True
    image = rows.repeat_interleave(units * cuts)
    v = game.values(
        torch.cat([base[drawn], one, two]), torch.cat([image[drawn], image[singles[:, 0]], image[doubles[:, 0]]])
    )  # (Q, V)
    v_drawn, v_one, v_two = v.split([len(drawn), len(one), len(two)])
    v_base = v.new_zeros(len(base), v.shape[1]).index_copy_(0, drawn, v_drawn)
    place = torch.zeros(base.shape, dtype=torch.int64)
    place[singles[:, 0], singles[:, 1]] = torch.arange(len(one))
    d = v_two - v_one[place[doubles[:, 0], i]] - v_one[place[doubles[:, 0], j]] + v_base[doubles[:, 0]]
    count = usable.sum(2)  # (b, U, P)
    unit = (doubles[:, 0] // cuts) * usable.shape[3] + doubles[:, 1]
    total = d.new_zeros(count.numel(), v.shape[1]).index_add_(0, unit, d)
    in_pair = (doubles[:, 0] // (cuts * units)) * usable.shape[3] + doubles[:, 1]
    absolute = d.new_zeros(images * usable.shape[3], v.shape[1]).index_add_(0, in_pair, d.abs())
    return Sums(total.view(*count.shape, -1), count, absolute.view(images, usable.shape[3], -1), exact=False)


def pair_sums(game: Game, rows: Tensor, keys: Tensor, pairs: Tensor, order: int, contexts: int) -> Sums:
    """Measure every pair in contexts of its own, four passes a draw, as published.

    The k-th contexts of all pairs make unit k.

    Args:
        game: The values.
        rows: (b,) int64, images of the game.
        keys: (b,) int64.
        pairs: (b, P, 2) int64.
        order: s.
        contexts: K.
    """
    units = [
        _four(game, rows, draw_pair_contexts(keys, game.players, order, number, pairs), pairs)
        for number in range(contexts)
    ]
    total = torch.stack(units, 1)  # (b, K, P, V)
    return Sums(total, torch.ones(total.shape[:3], dtype=torch.int64), total.abs().sum(1), exact=False)


def _four(game: Game, rows: Tensor, context: Tensor, pairs: Tensor) -> Tensor:
    """(b, P, V): D in one context (b, P, n) of each pair."""
    with_first = context.scatter(2, pairs[..., :1], True)
    with_second = context.scatter(2, pairs[..., 1:], True)
    with_both = with_first.scatter(2, pairs[..., 1:], True)
    sets = torch.stack([with_both, with_first, with_second, context], 2)  # (b, P, 4, n)
    v = game.values(sets.flatten(0, 2), rows.repeat_interleave(sets.shape[1] * 4)).view(*sets.shape[:3], -1)
    return v[:, :, 0] - v[:, :, 1] - v[:, :, 2] + v[:, :, 3]
