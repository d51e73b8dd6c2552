"""Drawing the contexts in which interactions are measured.

All draws are keyed: an image with the same key gets the same contexts, whatever its neighbours in the batch, and an
image and its source that share a key share their contexts (common random numbers).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from whywrong.core.randomness import keyed_bits
from whywrong.explain.interactions.random_streams import coalition_stream, pilot_stream

_LAST = torch.iinfo(torch.int64).max


@dataclass(frozen=True, slots=True)
class Plan:
    """How many sets serve one order, in the shared estimators.

    A set C of ``size`` players is small, at most (n-2)/2. Where ``mirror`` is false the context is C and players are
    added to it; where it is true they are taken from the complement of C, which holds order + 2 players. In both forms
    the pairs that can be measured are those outside of C; ``windows`` measures the others too, see
    :mod:`whywrong.explain.interactions.permutation_windows`.

    Attributes:
        order: s.
        size: min(s, n - 2 - s).
        mirror: Whether players are taken away.
        units: Independent draws: sets, or permutations with several windows.
        per_permutation: Sets, or windows, of one unit.
        exact: Whether all sets of this size are enumerated; one unit then.
        windows: Whether a unit is a permutation with windows that serve every pair.
        pilot: Whether the sets come from the stream of the pilot.
    """

    order: int
    size: int
    mirror: bool
    units: int
    per_permutation: int
    exact: bool
    windows: bool = False
    pilot: bool = False

    @property
    def sets(self) -> int:
        """Sets altogether."""
        return self.units * self.per_permutation

    @property
    def stream(self) -> int:
        """Of the draws."""
        return pilot_stream(self.order) if self.pilot else coalition_stream(self.order)


def usable_share(players: int, plan: Plan) -> float:
    """Return the chance that a set of a plan serves a pair, windows left out.

    A set serves a pair if both players lie outside it.
    """
    if plan.windows and not plan.exact:
        return 1.0
    return (players - plan.size) * (players - plan.size - 1) / (players * (players - 1))


def most_per_permutation(players: int, plan: Plan) -> int:
    """Return how many windows go once round a permutation, or nearly so.

    1 for sets that are drawn one by one.
    """
    return max(1, round(players / plan.size)) if plan.windows and plan.size else 1


def plan_sets(players: int, order: int, contexts: float, units: int, *, balanced: bool, pilot: bool = False) -> Plan:
    """Plan sets that give every pair ``contexts`` draws on average, or all sets.

    Args:
        players: n.
        order: s, in 0..n-2.
        contexts: K, draws wanted of each pair.
        units: Fewest independent permutations, so that an interval can be had.
        balanced: Whether a unit is a permutation with windows.
        pilot: Draw from the stream of the pilot.
    """
    size = min(order, players - 2 - order)
    plan = Plan(
        order,
        size,
        size != order,
        units=1,
        per_permutation=math.comb(players, size),
        exact=True,
        pilot=pilot,
    )
    if plan.per_permutation <= math.ceil(contexts / usable_share(players, plan) - 1e-9):
        return plan
    plan = replace(plan, exact=False, windows=balanced)
    wanted = math.ceil(contexts / usable_share(players, plan) - 1e-9)
    per_permutation = max(1, min(most_per_permutation(players, plan), wanted // units))
    return replace(
        plan,
        units=max(2, math.ceil(wanted / per_permutation)),
        per_permutation=per_permutation,
    )


def draw_sets(keys: Tensor, players: int, plan: Plan) -> Tensor:
    """Draw the sets C of a plan, (B, units, per_permutation, n) bool.

    Each set alone is uniform among those of its size. The players of C are not told which pairs are of interest:
    forcing those out of C would bias their interactions.
    """
    if plan.exact:
        every = torch.zeros(1, 1, plan.per_permutation, players, dtype=torch.bool)
        if plan.size:
            every.scatter_(3, torch.combinations(torch.arange(players), plan.size)[None, None], True)
        return every.expand(len(keys), -1, -1, -1)
    place = permutations(keys, players, plan.units, plan.stream)[:, :, None]  # (B, units, 1, n)
    start = torch.arange(plan.per_permutation)[:, None] * plan.size
    return (place - start) % players < plan.size


def permutations(keys: Tensor, players: int, count: int, stream: int) -> Tensor:
    """Draw ``count`` uniform random permutations.

    Returns the position of each player, (B, count, n) int64. With a larger count, the first permutations stay the same.
    """
    return keyed_bits(keys, (count, players), stream).argsort(-1).argsort(-1)


def draw_pair_coalitions(keys: Tensor, players: int, order: int, number: int, pairs: Tensor) -> Tensor:
    """Draw one uniform set of ``order`` players for each pair, (B, P, n) bool.

    A set holds neither player of its pair.

    Args:
        keys: (B,) int64.
        players: n.
        order: s.
        number: Which of a pair's contexts this is.
        pairs: (B, P, 2) int64.
    """
    bits = keyed_bits(keys, (pairs.shape[1], players), coalition_stream(order, number))
    if order == 0:
        return torch.zeros_like(bits, dtype=torch.bool)
    bits.scatter_(2, pairs, _LAST)
    return bits <= bits.kthvalue(order, dim=2, keepdim=True).values
