"""Measuring D(i, j, S) = v(S+i+j) - v(S+i) - v(S+j) + v(S) for pairs and contexts, and adding it up by pair.

Source: Deng et al. 2022, equation 2. D is symmetric under replacing S by S+i+j and adding by taking away, so one
routine serves contexts that grow and contexts that shrink: it toggles players of a base set.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from whywrong.explain.interactions.coalitions import Plan, draw_pair_coalitions
from whywrong.explain.interactions.permutation_windows import MOST_MASKS, Bases, bases
from whywrong.explain.masking.games import Game

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


def without_rounding(sums: Sums, rounding: Tensor) -> Sums:
    """Set the sums of an image to 0 if they are no larger than rounding.

    That is if the mean |D| of all its pairs is at most ``rounding`` (b,). Second differences of float32 values that do
    not interact are rounding; a profile of nothing else would be drawn like any other. An image is judged as a whole,
    so that the values of one that does interact still add up.
    """
    draws = sums.count.sum((1, 2))[:, None]  # (b, 1)
    nothing = (sums.absolute.sum(1) <= rounding[:, None] * draws) & (rounding[:, None] > 0)  # (b, V)
    return replace(
        sums,
        total=sums.total.masked_fill(nothing[:, None, None], 0.0),
        absolute=sums.absolute.masked_fill(nothing[:, None], 0.0),
    )


def image_blocks(images: int, units: int, masks: int, pairs: int, values: int) -> Iterator[slice]:
    """Split images into slices whose ``masks`` sets and ``units`` sums fit in memory."""
    step = max(1, min(MOST_MASKS // max(masks, 1), _MOST_SUMS // (units * pairs * values)))
    for start in range(0, images, step):
        yield slice(start, min(start + step, images))


def shared_sums(game: Game, rows: Tensor, keys: Tensor, pairs: Tensor, plan: Plan, ran: Tensor | None = None) -> Sums:
    """Measure pairs by the drawn sets, evaluating each set of a unit once.

    Args:
        game: The values.
        rows: (b,) int64, images of the game.
        keys: (b,) int64.
        pairs: (b, P, 2) int64.
        plan: Which sets are drawn.
        ran: (b, U, c) bool, which of them belong to an image; None for all.
    """
    ran = torch.ones(len(rows), plan.units, plan.per_permutation, dtype=torch.bool) if ran is None else ran
    drawn = bases(keys, game.players, pairs, plan, ran)
    masks = plan.per_permutation * (1 + game.players + pairs.shape[1])
    parts = [_toggle(game, rows, part, pairs) for part in drawn.parts(max(1, MOST_MASKS // (len(rows) * masks)))]
    absolute = torch.stack([part.absolute for part in parts]).sum(0)
    if plan.exact:
        total, count = (torch.stack([getattr(part, name) for part in parts]).sum(0) for name in ("total", "count"))
        return Sums(total, count, absolute, exact=True)
    total, count = torch.cat([part.total for part in parts], 1), torch.cat([part.count for part in parts], 1)
    return Sums(total, count, absolute, exact=False, ran=ran.any(2))


def _toggle(game: Game, rows: Tensor, drawn: Bases, pairs: Tensor) -> Sums:
    images, units, per_permutation, n = drawn.sets.shape
    usable, queries = drawn.usable, drawn.queries(pairs)
    image = queries.base // (units * per_permutation)
    base, of_image = queries.base[queries.asked], image[queries.asked]
    masks = drawn.sets.reshape(-1, n)[base]
    players = pairs[of_image, queries.pair[queries.asked]]  # (A, 2)
    for side in (0, 1):
        masks[torch.arange(len(masks)), players[:, side]] ^= queries.toggled[:, side]
    v = game.values(masks, rows[of_image])[queries.corner]  # (4, Q, V)
    d = v[3] - v[1] - v[2] + v[0]
    d *= drawn.sign[queries.base % per_permutation, None]
    count = usable.sum(2)  # (b, U, P)
    unit = (queries.base // per_permutation) * usable.shape[3] + queries.pair
    total = d.new_zeros(count.numel(), d.shape[1]).index_add_(0, unit, d)
    in_pair = image * usable.shape[3] + queries.pair
    absolute = d.new_zeros(images * usable.shape[3], d.shape[1]).index_add_(0, in_pair, d.abs())
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
        _four(game, rows, draw_pair_coalitions(keys, game.players, order, number, pairs), pairs)
        for number in range(contexts)
    ]
    total = torch.stack(units, 1)  # (b, K, P, V)
    return Sums(total, torch.ones(total.shape[:3], dtype=torch.int64), total.abs().sum(1), exact=False)


def _four(game: Game, rows: Tensor, context: Tensor, pairs: Tensor) -> Tensor:
    """Compute D (b, P, V) in one context (b, P, n) of each pair."""
    with_first = context.scatter(2, pairs[..., :1], True)
    with_second = context.scatter(2, pairs[..., 1:], True)
    with_both = with_first.scatter(2, pairs[..., 1:], True)
    sets = torch.stack([with_both, with_first, with_second, context], 2)  # (b, P, 4, n)
    v = game.values(sets.flatten(0, 2), rows.repeat_interleave(sets.shape[1] * 4)).view(*sets.shape[:3], -1)
    return v[:, :, 0] - v[:, :, 1] - v[:, :, 2] + v[:, :, 3]
