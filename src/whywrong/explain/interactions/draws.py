"""Measuring D(i, j, S) = v(S+i+j) - v(S+i) - v(S+j) + v(S) for pairs and contexts, and adding it up by pair.

Source: Deng et al. 2022, equation 2. D is symmetric under replacing S by S+i+j and adding by taking away, so one
routine serves contexts that grow and contexts that shrink: it toggles players of a base set.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from whywrong.explain.interactions.contexts import Plan, draw_pair_contexts
from whywrong.explain.interactions.games import Game
from whywrong.explain.interactions.windows import Bases, bases

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
    """Measure the pairs that the drawn sets serve: a pass a pair, one a player, one a base.

    Args:
        game: The values.
        rows: (b,) int64, images of the game.
        keys: (b,) int64.
        pairs: (b, P, 2) int64.
        plan: Which sets are drawn.
        ran: (b, U, c) bool, which of them an image gets; None for all.
    """
    ran = torch.ones(len(rows), plan.units, plan.cuts, dtype=torch.bool) if ran is None else ran
    drawn = bases(keys, game.players, pairs, plan, ran)
    sets, usable, sign = drawn.sets, drawn.usable, drawn.sign.expand(plan.units, -1)
    if plan.exact:  # every set for itself while they are measured
        sets, usable, sign = sets.transpose(1, 2), usable.transpose(1, 2), sign.T
    masks = sets.shape[2] * (1 + game.players) + max(1, plan.cuts // sets.shape[1]) * pairs.shape[1]
    per_block = max(1, MOST_MASKS // (len(rows) * masks))
    parts = [
        _toggle(game, rows, Bases(*part), pairs)
        for part in zip(sets.split(per_block, 1), usable.split(per_block, 1), sign.split(per_block), strict=True)
    ]
    total = torch.cat([part.total for part in parts], 1)
    count = torch.cat([part.count for part in parts], 1)
    if plan.exact:
        total, count = total.sum(1, keepdim=True), count.sum(1, keepdim=True)
    absolute = torch.stack([part.absolute for part in parts]).sum(0)
    return Sums(total, count, absolute, plan.exact, None if plan.exact else ran.any(2))


def _toggle(game: Game, rows: Tensor, drawn: Bases, pairs: Tensor) -> Sums:
    images, units, cuts, n = drawn.sets.shape
    usable = drawn.usable
    base = drawn.sets.reshape(-1, n)  # (b U C, n)
    asked = usable.any(3).flatten().nonzero()[:, 0]
    singles = drawn.needed(pairs).reshape(-1, n).nonzero()  # (Q1, 2): set, player
    doubles = usable.reshape(-1, usable.shape[3]).nonzero()  # (Q2, 2): set, pair
    image = torch.arange(images).repeat_interleave(units * cuts)
    i, j = pairs[image[doubles[:, 0]], doubles[:, 1]].unbind(1)
    one = base[singles[:, 0]]
    one[torch.arange(len(one)), singles[:, 1]] ^= True
    two = base[doubles[:, 0]]
    for side in (i, j):
        two[torch.arange(len(two)), side] ^= True
    of_set = rows[image]
    v = game.values(
        torch.cat([base[asked], one, two]), torch.cat([of_set[asked], of_set[singles[:, 0]], of_set[doubles[:, 0]]])
    )  # (Q, V)
    v_asked, v_one, v_two = v.split([len(asked), len(one), len(two)])
    v_base = v.new_zeros(len(base), v.shape[1]).index_copy_(0, asked, v_asked)
    place = torch.zeros(base.shape, dtype=torch.int64)
    place[singles[:, 0], singles[:, 1]] = torch.arange(len(one))
    d = v_two - v_one[place[doubles[:, 0], i]] - v_one[place[doubles[:, 0], j]] + v_base[doubles[:, 0]]
    d *= drawn.sign.flatten().repeat(images)[doubles[:, 0], None]
    count = usable.sum(2)  # (b, U, P)
    unit = (doubles[:, 0] // cuts) * usable.shape[3] + doubles[:, 1]
    total = d.new_zeros(count.numel(), v.shape[1]).index_add_(0, unit, d)
    in_pair = image[doubles[:, 0]] * usable.shape[3] + doubles[:, 1]
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
