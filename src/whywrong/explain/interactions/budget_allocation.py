"""How many contexts each image gets at each order: the same for all, within a cap on passes, or by a pilot's noise.

Whatever is decided here looks at the image's own key, pairs and pilot alone, so that its neighbours in the batch change
nothing; and at nothing that the estimate itself is made of, so that the estimate stays unbiased.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from whywrong.core.errors import InputError
from whywrong.explain.interactions.coalitions import Plan, most_per_permutation, plan_sets, usable_share
from whywrong.explain.interactions.draws import image_blocks
from whywrong.explain.interactions.permutation_windows import BASES, bases

FEWEST_UNITS = 2
_AIM = 0.96  # of a cap: some sets turn out dearer than expected, and the rest is for them
_BISECTIONS = 40
_PRICED = 6  # sets that say what a set costs
_SLACK = 1e-9  # 16 contexts that came out as 15.99... are 16


@dataclass(frozen=True, slots=True)
class Share:
    """Draws of one order, by image.

    Attributes:
        plan: What every image has at most.
        units: (B,) int64, independent units that an image gets; 0 leaves it out.
        per_permutation: (B,) int64, sets in each of them.
    """

    plan: Plan
    units: Tensor
    per_permutation: Tensor

    @staticmethod
    def of(plan: Plan, units: Tensor, per_permutation: Tensor) -> Share:
        """Build a share, with the plan cut down to the largest numbers."""
        most = replace(
            plan,
            units=max(1, int(units.max())),
            per_permutation=max(1, int(per_permutation.max())),
        )
        return Share(most, units, per_permutation)

    def ran(self, block: slice) -> Tensor:
        """Mark which of the plan's sets belong to an image, (b, U, c) bool."""
        unit = torch.arange(self.plan.units)[:, None] < self.units[block, None, None]
        return unit & (torch.arange(self.plan.per_permutation) < self.per_permutation[block, None, None])


@dataclass(frozen=True, slots=True)
class Request:
    """What shares are made from.

    Attributes:
        players: n.
        orders: s, R of them.
        exact: Which orders are enumerated, for all images alike.
        pairs: (B, P, 2) int64.
        keys: (B,) int64.
        units: Fewest permutations wanted.
        balanced: Whether permutations are cut into several sets.
        pilot: Whether the draws are those of the pilot, which no estimate uses.
    """

    players: int
    orders: tuple[int, ...]
    exact: tuple[bool, ...]
    pairs: Tensor
    keys: Tensor
    units: int
    balanced: bool
    pilot: bool = False


def enumerated(
    players: int, orders: Sequence[int], pairs: int, contexts: int, budget: int | None, *, balanced: bool
) -> tuple[bool, ...]:
    """Mark the orders that have no more sets than draws of every pair would take.

    A budget may lower the contexts until an order has more; what a set costs is then taken from the number of pairs
    alone, so that the answer is the same for all images.

    Args:
        players: n.
        orders: s, R of them.
        pairs: P.
        contexts: Most draws of a pair.
        budget: Passes of an image; None for no limit.
        balanced: As in :class:`Request`.
    """
    plans = [plan_sets(players, order, contexts, 2, balanced=balanced) for order in orders]
    while budget is not None:
        fixed = sum(plan.per_permutation * _dearest(players, pairs, plan) for plan in plans if plan.exact)
        sampled = sum(_dearest(players, pairs, plan) / usable_share(players, plan) for plan in plans if not plan.exact)
        fitting = min(contexts, (_AIM * budget - fixed) / sampled if sampled else contexts)
        too_many = [
            number
            for number, plan in enumerate(plans)
            if plan.exact and plan.per_permutation > max(1, math.ceil(fitting / usable_share(players, plan)))
        ]
        if not too_many:
            break
        worst = max(too_many, key=lambda number: plans[number].per_permutation)
        plans[worst] = replace(plans[worst], exact=False, windows=balanced)
    return tuple(plan.exact for plan in plans)


def shares(request: Request, contexts: Tensor, budget: Tensor | None) -> list[Share]:
    """Give each image its contexts at each order, as far as its budget goes.

    Where the budget is short, the contexts of all sampled orders fall by one factor. They are planned from the passes
    that sets cost on average, which says nothing of the sets themselves; in the rare case that an image's sets turn out
    so dear that the budget would not hold, it loses its last units. A pilot that does not fit is left out.

    Args:
        request: Pairs, orders, keys.
        contexts: (B, R) float64, contexts wanted by each pair; enumerated orders take all sets whatever it says.
        budget: (B,) int64, passes; None for no limit.

    Raises:
        InputError: The budget of an image does not hold two units at each order.
    """
    plans = [_plan(request, number) for number in range(len(request.orders))]
    if budget is None:
        return [_share(request, plan, contexts[:, number]) for number, plan in enumerate(plans)]
    fixed, price = _prices(request, plans)
    contexts = _scaled(contexts, price * ~torch.tensor(request.exact), _AIM * budget - fixed, plans, request.players)
    found = [_share(request, plan, contexts[:, number]) for number, plan in enumerate(plans)]
    expected = [
        (price[:, number] * usable_share(request.players, plan) * share.per_permutation)[:, None].expand(
            -1, share.plan.units
        )
        for number, (plan, share) in enumerate(zip(plans, found, strict=True))
    ]
    found = _within(request, found, expected, _AIM * budget - fixed)
    real = [_passes(request, share) for share in found]
    enough = sum(
        (cost.sum(1) for cost, share in zip(real, found, strict=True) if share.plan.exact), start=torch.tensor(0)
    )
    return _checked(request, _within(request, found, real, budget - enough), real, budget)


def _plan(request: Request, number: int) -> Plan:
    plan = plan_sets(request.players, request.orders[number], 2, 2, balanced=request.balanced, pilot=request.pilot)
    if request.exact[number]:
        return replace(plan, exact=True, windows=False, units=1, per_permutation=math.comb(request.players, plan.size))
    return replace(plan, exact=False, windows=request.balanced)


def _share(request: Request, plan: Plan, contexts: Tensor) -> Share:
    """The share of an order that comes nearest to (B,) contexts: all sets, or at least two units."""
    if plan.exact:
        every = torch.ones(len(contexts), dtype=torch.int64)
        return Share.of(plan, every, every * plan.per_permutation)
    wanted = (contexts / usable_share(request.players, plan)).clamp_min(FEWEST_UNITS)
    per_permutation = (
        (wanted / request.units + _SLACK).floor().long().clamp(1, most_per_permutation(request.players, plan))
    )
    return Share.of(plan, (wanted / per_permutation - _SLACK).ceil().long(), per_permutation)


def _scaled(contexts: Tensor, price: Tensor, left: Tensor, plans: Sequence[Plan], players: int) -> Tensor:
    """Contexts (B, R) times one factor of at most 1 an image, at least two sets an order, so that they cost no more
    than is ``left`` (B,), if that can be; ``price`` (B, R) is 0 where an order costs nothing."""
    least = torch.tensor([FEWEST_UNITS * usable_share(players, plan) for plan in plans], dtype=torch.float64)
    low, high = torch.zeros(len(contexts), 1, dtype=torch.float64), torch.ones(len(contexts), 1, dtype=torch.float64)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        fits = (torch.maximum(contexts * middle, least) * price).sum(1, keepdim=True) <= left[:, None]
        low, high = middle.where(fits, low), high.where(fits, middle)
    whole = (torch.maximum(contexts, least) * price).sum(1, keepdim=True) <= left[:, None]
    return torch.maximum(contexts * low.where(~whole, 1.0), least)


def _dearest(players: int, pairs: int, plan: Plan) -> float:
    """Most passes that a set costs on average, whoever the pairs are: each player toggled alone, at every base."""
    alone = min(2 * pairs, players)
    if plan.windows:
        return BASES + 2 * alone + pairs
    return 1 + alone * (1 - plan.size / players) + pairs * usable_share(players, plan)


def _prices(request: Request, plans: Sequence[Plan]) -> tuple[Tensor, Tensor]:
    """Passes of a set on average: (B,) of all sets of the enumerated orders, (B, R) of a context of every pair.

    Counted in a few sets that no estimate uses.
    """
    images = len(request.keys)
    fixed, price = torch.zeros(images, dtype=torch.float64), []
    for plan in plans:
        per_permutation = plan.per_permutation if plan.exact else most_per_permutation(request.players, plan)
        units = 1 if plan.exact else math.ceil(_PRICED / per_permutation)
        every = torch.ones(images, dtype=torch.int64)
        some = Share(
            replace(plan, units=units, per_permutation=per_permutation, pilot=True),
            units * every,
            per_permutation * every,
        )
        passes = _passes(request, some).sum(1).double()
        price.append(passes / (units * per_permutation * usable_share(request.players, plan)))
        fixed += passes if plan.exact else 0
    return fixed, torch.stack(price, 1)


def _within(request: Request, found: list[Share], cost: list[Tensor], left: Tensor) -> list[Share]:
    """Drop the last units of images whose sampled units cost (B, U) more than is left; no order falls below two."""
    sampled = [number for number, exact in enumerate(request.exact) if not exact]
    if not sampled:
        return found
    rounds = max(found[number].plan.units for number in sampled)
    unit = torch.arange(rounds)
    run = [
        torch.nn.functional.pad(cost[number], (0, rounds - cost[number].shape[1]))
        * (unit < found[number].units[:, None])
        for number in sampled
    ]
    # Round by round: every order gets its first two units before any gets a third.
    spent = torch.stack(run, 2).flatten(1).cumsum(1).view(-1, rounds, len(sampled))
    kept = ((spent <= left[:, None, None]) | (unit < FEWEST_UNITS)[:, None]).sum(1)  # (B, sampled)
    found = list(found)
    for place, number in enumerate(sampled):
        share = found[number]
        found[number] = Share.of(share.plan, torch.minimum(share.units, kept[:, place]), share.per_permutation)
    return found


def _checked(request: Request, found: list[Share], cost: list[Tensor], budget: Tensor) -> list[Share]:
    """Refuse a budget that is too short even so; a pilot is left out instead."""
    run = [
        (part[:, : share.plan.units] * (torch.arange(share.plan.units) < share.units[:, None])).sum(1)
        for part, share in zip(cost, found, strict=True)
    ]
    total = torch.stack(run, 1).sum(1)  # (B,)
    short = total > budget
    if request.pilot:
        return [Share.of(share.plan, share.units.where(~short, 0), share.per_permutation) for share in found]
    if bool(short.any()):
        worst = int((total - budget).argmax())
        raise InputError(
            f"the cap on passes leaves image {worst} {int(budget[worst])} for its orders, two draws at each of them "
            f"take {int(total[worst])}: raise interactions.max_passes, or ask for fewer pairs or orders"
        )
    return found


def _passes(request: Request, share: Share) -> Tensor:
    """(B, U) int64: passes that each unit of a share will take; known from the sets alone, without asking the game."""
    plan, parts, pairs = share.plan, [], request.pairs.shape[1]
    for block in image_blocks(len(request.keys), plan.sets, plan.sets * pairs // 16 + 1, pairs, 1):
        drawn = bases(request.keys[block], request.players, request.pairs[block], plan, share.ran(block))
        parts.append(drawn.passes(request.pairs[block]))
    return torch.cat(parts)
