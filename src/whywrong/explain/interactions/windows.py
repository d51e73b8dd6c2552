"""Which sets are asked for the interactions of pairs, and which pairs each of them serves.

A base X, toggled at i, at j and at both, gives v(X^ij) - v(X^i) - v(X^j) + v(X): that is D(i, j, S) where both players
are outside of X = S or both are inside of X = S+i+j, and -D where one of them is inside.

``windows``: the players stand in a ring, in random order. The context of a pair is the first s players after a starting
point, i and j left out. Taking i and j out of a random ring leaves a random ring of the others, so every context is
uniform; and as the starting points go round the ring by steps of s, the contexts of every pair hold each other player
about equally often, which cancels the part of D that is linear in the context. Three bases make all of them: the first
s players, for pairs that are not among these; the first s+1, for pairs with one player among them; the first s+2.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from whywrong.explain.interactions.contexts import Plan, draw_sets, permutations

BASES = 3


@dataclass(frozen=True, slots=True)
class Bases:
    """Sets to start from, each with the pairs it serves. Units U, bases C of a unit.

    Attributes:
        sets: (b, U, C, n) bool.
        usable: (b, U, C, P) bool, pairs whose D is measured at a base.
        sign: (C,) float64, +1, or -1 where one player of the pair is inside.
    """

    sets: Tensor
    usable: Tensor
    sign: Tensor

    def needed(self, pairs: Tensor) -> Tensor:
        """(b, U, C, n) bool: players that are toggled alone."""
        count = torch.zeros(self.sets.shape, dtype=torch.int32)
        for side in (0, 1):
            count.scatter_add_(3, _per_pair(pairs, side, self.usable), self.usable.int())
        return count > 0

    def passes(self, pairs: Tensor) -> Tensor:
        """(b, U) int64: sets that will be asked."""
        asked = self.usable.any(3).sum(2) + self.needed(pairs).sum((2, 3))
        return asked + self.usable.sum((2, 3))


def bases(keys: Tensor, players: int, pairs: Tensor, plan: Plan, ran: Tensor) -> Bases:
    """The bases of a plan.

    Args:
        keys: (b,) int64.
        players: n.
        pairs: (b, P, 2) int64.
        plan: Which sets are drawn; all sets of an enumeration make one unit.
        ran: (b, U, c) bool, which of them an image gets.
    """
    if plan.windows and not plan.exact:
        return _windows(keys, players, pairs, plan, ran)
    small = draw_sets(keys, players, plan)  # (b, U, c, n)
    usable = _outside(small, pairs, 0) & _outside(small, pairs, 1) & ran[..., None]
    return Bases(~small if plan.mirror else small, usable, torch.ones(plan.cuts, dtype=torch.float64))


def _windows(keys: Tensor, players: int, pairs: Tensor, plan: Plan, ran: Tensor) -> Bases:
    place = permutations(keys, players, plan.units, plan.stream)[:, :, None]  # (b, U, 1, n)
    place = (place - torch.arange(plan.cuts)[:, None] * plan.size) % players  # (b, U, c, n), from each starting point
    first, second = (
        place.gather(3, pairs[..., side, None, None].movedim(1, 3).expand(*place.shape[:3], -1)) for side in (0, 1)
    )
    inside = torch.minimum(first, second) < plan.size
    both = inside & (torch.maximum(first, second) <= plan.size)
    usable = torch.stack([~inside, inside & ~both, both], 3) & ran[..., None, None]  # (b, U, c, 3, P)
    sets = place[..., None, :] < plan.size + torch.arange(BASES)[:, None]  # (b, U, c, 3, n)
    sign = torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64).repeat(plan.cuts)
    return Bases((~sets if plan.mirror else sets).flatten(2, 3), usable.flatten(2, 3), sign)


def _outside(small: Tensor, pairs: Tensor, side: int) -> Tensor:
    """(b, U, c, P) bool: whether a player of each pair is not in the set."""
    return ~small.gather(3, pairs[..., side, None, None].movedim(1, 3).expand(*small.shape[:3], -1))


def _per_pair(pairs: Tensor, side: int, like: Tensor) -> Tensor:
    """(b, U, C, P) int64: a player of each pair, as often as ``like`` has sets."""
    return pairs[..., side, None, None].movedim(1, 3).expand(like.shape)
