"""Allocation of contexts to images and orders, uniform, within a limit on passes, or by the noise of a pilot.

The allocation depends only on the image's own key, pairs and pilot, so that the rest of the batch changes nothing. It
does not depend on the draws of the estimate, so that the estimate stays unbiased.
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
_AIM = 0.96  # share of a limit; the rest is reserved for sets that cost more than expected
_BISECTIONS = 40
_PRICED = 6  # sets from which the cost of a set is estimated
_SLACK = 1e-9  # tolerance, so that 15.99... contexts count as 16


@dataclass(frozen=True, slots=True)
class Share:
    """Draws of one order, by image.

    Attributes:
        plan: The most that any image gets.
        units: (B,) int64, independent units of an image; 0 omits the order.
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
    """Input of the allocation.

    Attributes:
        players: n.
        orders: s, R of them.
        exact: Which orders are enumerated, for all images alike.
        pairs: (B, P, 2) int64.
        keys: (B,) int64.
        units: Smallest number of permutations.
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

    A budget may lower the contexts until an order has more sets; the cost of a set is then derived from the number of
    pairs alone, so that the result is the same for all images.

    Args:
        players: n.
        orders: s, R of them.
        pairs: P.
        contexts: Largest number of draws of a pair.
        budget: Passes per image; None for no limit.
        balanced: As for :class:`Request`.
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
    """Give each image its contexts at each order, as far as its budget allows.

    If the budget is too small, the contexts of all sampled orders are reduced by one factor. They are planned from the
    average cost of sets, which is independent of the sets themselves; in the rare case that an image's sets cost so
    much that the budget would be exceeded, its last units are dropped. A pilot that does not fit is omitted.

    Args:
        request: Pairs, orders, keys.
        contexts: (B, R) float64, contexts per pair; enumerated orders take all sets regardless.
        budget: (B,) int64, passes; None for no limit.

    Raises:
        InputError: The budget of an image does not allow two units at each order.
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
    """Build the share of an order closest to (B,) contexts.

    It has all sets, or at least two units.
    """
    if plan.exact:
        every = torch.ones(len(contexts), dtype=torch.int64)
        return Share.of(plan, every, every * plan.per_permutation)
    wanted = (contexts / usable_share(request.players, plan)).clamp_min(FEWEST_UNITS)
    per_permutation = (
        (wanted / request.units + _SLACK).floor().long().clamp(1, most_per_permutation(request.players, plan))
    )
    return Share.of(plan, (wanted / per_permutation - _SLACK).ceil().long(), per_permutation)


def _scaled(contexts: Tensor, price: Tensor, left: Tensor, plans: Sequence[Plan], players: int) -> Tensor:
    """Scale contexts (B, R) by one factor of at most 1 per image.

    If possible they then cost no more than is ``left`` (B,), with at least two sets per order; ``price`` (B, R) is 0 if
    an order costs nothing.
    """
    least = torch.tensor([FEWEST_UNITS * usable_share(players, plan) for plan in plans], dtype=torch.float64)
    low, high = torch.zeros(len(contexts), 1, dtype=torch.float64), torch.ones(len(contexts), 1, dtype=torch.float64)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        fits = (torch.maximum(contexts * middle, least) * price).sum(1, keepdim=True) <= left[:, None]
        low, high = middle.where(fits, low), high.where(fits, middle)
    whole = (torch.maximum(contexts, least) * price).sum(1, keepdim=True) <= left[:, None]
    return torch.maximum(contexts * low.where(~whole, 1.0), least)


def _dearest(players: int, pairs: int, plan: Plan) -> float:
    """Compute the largest average cost of a set for any pairs, in passes.

    Each player is toggled alone, at every base.
    """
    alone = min(2 * pairs, players)
    if plan.windows:
        return BASES + 2 * alone + pairs
    return 1 + alone * (1 - plan.size / players) + pairs * usable_share(players, plan)


def _prices(request: Request, plans: Sequence[Plan]) -> tuple[Tensor, Tensor]:
    """Compute the average cost in passes.

    Returns (B,) for all sets of the enumerated orders, and (B, R) for a context of every pair.

    The cost is estimated from a few sets that no estimate uses.
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
    """Drop the last units of images whose sampled units cost more than is left.

    Costs are (B, U); no order gets fewer than two.
    """
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
    """Refuse a budget that is still too small.

    A pilot is omitted instead.
    """
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
            f"take {int(total[worst])}: raise max_passes, or ask for fewer pairs or orders"
        )
    return found


def _passes(request: Request, share: Share) -> Tensor:
    """Count the passes (B, U) int64 of each unit of a share.

    The count follows from the sets alone, without evaluating the game.
    """
    plan, parts, pairs = share.plan, [], request.pairs.shape[1]
    for block in image_blocks(len(request.keys), plan.sets, plan.sets * pairs // 16 + 1, pairs, 1):
        drawn = bases(request.keys[block], request.players, request.pairs[block], plan, share.ran(block))
        parts.append(drawn.passes(request.pairs[block]))
    return torch.cat(parts)
