"""Which sets are asked for the interactions of pairs, and which pairs each of them serves.

A base X, toggled at i, at j and at both, gives v(X^ij) - v(X^i) - v(X^j) + v(X): that is D(i, j, S) where both players
are outside of X = S or both are inside of X = S+i+j, and -D where one of them is inside.

``windows``: the players of a connected component of the pairs stand in a ring, in random order, and so do all other
players. The context of a pair is the first a of its component after a starting point, i and j left out, and the first
s - a of the others. Removing i and j from a random ring leaves a random ring, and a is drawn by the law of how many of
the component a uniform context holds, so every context is uniform. As the starting points go round both rings, the
contexts of every pair hold each other player about equally often, which cancels the part of D that is linear in the
context. Three bases make all contexts of a component: its first a players, for pairs that are not among these; its
first a+1, for pairs with one player among them; its first a+2. They share most of their sets, each of which is asked
once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from whywrong.core.randomness import keyed_bits, keyed_uniform, row_keys
from whywrong.explain.interactions.coalitions import Plan, draw_sets, permutations
from whywrong.explain.interactions.components import Components, components_of
from whywrong.explain.interactions.random_streams import CODES, count_stream

BASES = 3
MOST_MASKS = 2**17  # sets held at once; of 256 players, 32 MiB
_GOLDEN = (5**0.5 - 1) / 2  # its multiples spread evenly over [0, 1) however many there are
_ODD = 0x9E3779B97F4A7C15 - 2**64  # tells the units apart, as an int64 that wraps


@dataclass(frozen=True, slots=True)
class Queries:
    """The four values behind each D, and the sets that have to be asked, each once in a unit.

    Attributes:
        base: (Q,) int64, which set X serves a D, counted over images, units and bases.
        pair: (Q,) int64, which pair.
        corner: (4, Q) int64, where the values of X, X^i, X^j and X^ij stand among the sets asked.
        asked: (A,) int64, one of the D that want each set.
        toggled: (A, 2) bool, whether its i and its j are toggled in it.
    """

    base: Tensor
    pair: Tensor
    corner: Tensor
    asked: Tensor
    toggled: Tensor


@dataclass(frozen=True, slots=True)
class Bases:
    """Sets to start from, each with the pairs it serves. Units U, bases C of a unit.

    Attributes:
        sets: (b, U, C, n) bool.
        usable: (b, U, C, P) bool, pairs whose D is measured at a base.
        sign: (C,) float64, +1, or -1 where one player of the pair is inside.
        together: Bases of a unit among which no set is asked twice: all, but for enumerations too large to hold.
    """

    sets: Tensor
    usable: Tensor
    sign: Tensor
    together: int

    def parts(self, units: int) -> Iterator[Bases]:
        """Yield at most ``units`` units at a time.

        Each unit is whole, except in enumerations that are too large to hold.
        """
        for start in range(0, self.sets.shape[1], units):
            for first in range(0, self.sets.shape[2], self.together):
                rows, part = slice(start, start + units), slice(first, first + self.together)
                yield Bases(
                    self.sets[:, rows, part],
                    self.usable[:, rows, part],
                    self.sign[part],
                    self.together,
                )

    def queries(self, pairs: Tensor) -> Queries:
        """List the sets to evaluate for the pairs (b, P, 2).

        Sets are told apart by the sum of a code of 64 random bits for each player; two of a million sets have a sum in
        common with a chance of 1e-8.
        """
        images, units, per_permutation, n = self.sets.shape
        base, pair = self.usable.reshape(-1, self.usable.shape[3]).nonzero().unbind(1)
        code = keyed_bits(row_keys(0, 1), (n,), CODES)[0]
        scope = torch.arange(images * units)[:, None] * per_permutation + torch.arange(per_permutation) // self.together
        of_base = (self.sets * code).sum(3).flatten() + scope.flatten() * _ODD
        step = [self._step(base, pairs[base // (units * per_permutation), pair, side], code) for side in (0, 1)]
        corner = torch.stack([torch.zeros_like(step[0]), step[0], step[1], step[0] + step[1]]) + of_base[base]
        found, place = corner.unique(return_inverse=True)
        example = torch.empty(len(found), dtype=torch.int64)
        example[place.flatten()] = torch.arange(place.numel())
        which = example // max(1, len(base))
        return Queries(base, pair, place, example % max(1, len(base)), torch.stack([which % 2, which // 2], 1) == 1)

    def _step(self, base: Tensor, player: Tensor, code: Tensor) -> Tensor:
        """Compute by how much a toggle changes the code of a base."""
        return code[player] * (1 - 2 * self.sets.flatten(0, 2)[base, player].long())

    def passes(self, pairs: Tensor) -> Tensor:
        """Count the sets that will be evaluated, (b, U) int64."""
        images, units, per_permutation, _ = self.sets.shape
        queries = self.queries(pairs)
        unit = queries.base[queries.asked] // per_permutation
        return torch.bincount(unit, minlength=images * units).view(images, units)


def bases(keys: Tensor, players: int, pairs: Tensor, plan: Plan, ran: Tensor) -> Bases:
    """Build the bases of a plan.

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
    together = max(1, MOST_MASKS // (1 + players + pairs.shape[1])) if plan.exact else plan.per_permutation
    return Bases(
        ~small if plan.mirror else small,
        usable,
        torch.ones(plan.per_permutation, dtype=torch.float64),
        together,
    )


def _windows(keys: Tensor, players: int, pairs: Tensor, plan: Plan, ran: Tensor) -> Bases:
    joined = components_of(pairs, players)
    place = permutations(keys, players, plan.units, plan.stream)  # (b, U, n)
    start = keyed_uniform(keys, (plan.units,), count_stream(plan.stream)).double()  # (b, U)
    level = (start[..., None] + _GOLDEN * torch.arange(plan.per_permutation)) % 1
    groups = [_of_component(place, level, pairs, plan.size, joined, group) for group in range(joined.players.shape[1])]
    sets, usable = (torch.stack(parts, 3) for parts in zip(*groups, strict=True))  # (b, U, c, L, 3, ...)
    usable &= ran[..., None, None, None]
    sign = torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64).repeat(plan.per_permutation * len(groups))
    return Bases((~sets if plan.mirror else sets).flatten(2, 4), usable.flatten(2, 4), sign, len(sign))


def _of_component(
    place: Tensor, level: Tensor, pairs: Tensor, size: int, joined: Components, group: int
) -> tuple[Tensor, Tensor]:
    """Build the bases of one component of each image, and the pairs they are used for.

    Bases are (b, U, c, 3, n), pairs (b, U, c, 3, P).
    """
    n = place.shape[2]
    member = (joined.label == group)[:, None, None]  # (b, 1, 1, n)
    inner = joined.players[:, group, None, None]  # (b, 1, 1), q
    taken = _share_of_component(level, n, size, joined.players[:, group])  # (b, U, c), a
    rank = (place + n * member[:, 0]).argsort(2).argsort(2)[:, :, None]  # (b, U, 1, n): the others first
    outer = (n - inner)[..., None]
    turn = taken.cumsum(2) - taken  # where windows start: after those before
    others = (rank - _each(size, turn)) % outer.clamp_min(1) < (size - taken)[..., None]
    within = (rank - outer - turn[..., None]) % inner.clamp_min(1)[..., None]  # (b, U, c, n), from each starting point
    first, second = (
        within.gather(3, pairs[:, None, None, :, side].expand(*taken.shape, -1)) for side in (0, 1)
    )  # (b, U, c, P)
    inside = torch.minimum(first, second) < taken[..., None]
    both = inside & (torch.maximum(first, second) <= taken[..., None])
    usable = torch.stack([~inside, inside & ~both, both], 3) & (joined.of_pair == group)[:, None, None, None]
    more = taken[..., None, None] + torch.arange(BASES)[:, None]
    sets = (within[..., None, :] < more).where(member[..., None, :], others[..., None, :])
    return sets, usable


def _each(size: int, turn: Tensor) -> Tensor:
    """Return the starts of the windows in the ring of the others, (b, U, c, 1).

    ``turn`` holds the starts in the ring of the component.
    """
    return (size * torch.arange(turn.shape[2]) - turn)[..., None]


def _share_of_component(level: Tensor, players: int, size: int, inner: Tensor) -> Tensor:
    """Draw how many of q - 2 players a uniform set of ``size`` of n - 2 contains.

    It is the quantile at ``level`` (b, U, c).
    """
    found = torch.zeros_like(level, dtype=torch.int64)
    for q in inner.unique().tolist():
        marked = max(q - 2, 0)
        count = torch.arange(marked + 1).double()
        chance = _choose(marked, count) + _choose(players - 2 - marked, size - count)
        chance = (chance - chance.logsumexp(0)).exp()
        below = (level[..., None] >= chance.cumsum(0)).sum(3)
        least, most = (int(end) for end in chance.nonzero()[[0, -1], 0])
        found = below.clamp(least, most).where((inner == q)[:, None, None], found)
    return found


def _choose(n: int, k: Tensor) -> Tensor:
    """Compute the logarithm of the binomial coefficient, -inf if it is zero."""
    whole = torch.tensor(float(n), dtype=torch.float64)
    inside = (k >= 0) & (k <= n)
    k = k.clamp(0, n)
    return ((whole + 1).lgamma() - (k + 1).lgamma() - (whole - k + 1).lgamma()).where(inside, -torch.inf)


def _outside(small: Tensor, pairs: Tensor, side: int) -> Tensor:
    """Test whether a player of each pair is not in the set, (b, U, c, P) bool."""
    return ~small.gather(3, pairs[..., side, None, None].movedim(1, 3).expand(*small.shape[:3], -1))
