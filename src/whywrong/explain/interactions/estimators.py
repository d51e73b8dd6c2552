"""Multi-order interactions of pairs of players: three estimators behind one door.

``faithful``: contexts drawn for every pair and order alone, four passes a draw, the same at the end orders.
``shared``: every context serves all pairs outside of it; where there are few sets, all are taken.
``balanced``: as ``shared``, with permutations cut into disjoint contexts, so that all players come up about equally
often, which cancels the part of D that is linear in the context.
Source: Deng et al. 2022, section 3 and official code (``faithful``); the others are ours, unbiased for the same means.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from whywrong.core.checks import check_keys
from whywrong.core.errors import InputError
from whywrong.core.randomness import row_keys
from whywrong.explain.interactions.contexts import Plan, plan_sets
from whywrong.explain.interactions.curves import signed_means
from whywrong.explain.interactions.draws import Sums, image_blocks, pair_sums, shared_sums
from whywrong.explain.interactions.games import Game
from whywrong.explain.interactions.pairs import check_orders, check_pairs, orders_of
from whywrong.explain.interactions.profile import Profile
from whywrong.explain.interactions.strengths import Strengths, strengths

METHODS = ("faithful", "shared", "balanced")


@dataclass(frozen=True, slots=True, kw_only=True)
class InteractionsConfig:
    """Settings of :func:`estimate`, checked once, when built.

    Attributes:
        method: ``faithful``, ``shared`` or ``balanced``.
        contexts: K, draws of D for each pair and order; on average for ``shared`` and ``balanced``. At least 2: one
            draw says nothing of its own noise.
        orders: s in 0..n-2, none twice; None takes floor(r (n-2)) of the 13 published ratios r.
        units: Fewest independent permutations of an order in ``balanced``; at least 2. Fewer cancel more noise, more
            make the intervals narrower for the same noise.
        permutations: Draws of the mean over all pairs by identity (c), for ``shared`` and ``balanced``; 0 leaves it
            out, else at least 2.
        seed: Seeds the draws when no keys are given.
    """

    method: Literal["faithful", "shared", "balanced"] = "balanced"
    contexts: int = 16
    orders: tuple[int, ...] | None = None
    units: int = 4
    permutations: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InputError(f"interactions.method must be one of {', '.join(METHODS)}, got {self.method!r}")
        for name in ("contexts", "units"):
            if getattr(self, name) < 2:
                raise InputError(f"interactions.{name} must be at least 2, got {getattr(self, name)}")
        if self.permutations < 0 or self.permutations == 1:
            raise InputError(f"interactions.permutations must be 0 or at least 2, got {self.permutations}")
        if self.orders is not None and not self.orders:
            raise InputError("interactions.orders must name at least one order, or be None")


def estimate(
    game: Game, pairs: Tensor, *, keys: Tensor | None = None, config: InteractionsConfig | None = None
) -> Profile:
    """Interactions of pairs, order by order, for all images of a game.

    Args:
        game: Values of sets of n players, for B images.
        pairs: (P, 2) int64, the same for every image, or (B, P, 2); players in 0..n-1, no pair twice. The shared
            estimators profit from many pairs among few players.
        keys: Seed of each image's contexts, (B,) int64; default (config.seed, row). Images with one key share their
            contexts.
        config: Settings; None takes the defaults.

    Returns:
        The profile, with the passes it took.

    Raises:
        InputError: Pairs, orders or keys break the contract above.
        NonFiniteError: The game returned NaN or infinity.
    """
    config = config or InteractionsConfig()
    orders = orders_of(game.players) if config.orders is None else tuple(config.orders)
    check_orders(orders, game.players)
    pairs = check_pairs(pairs, game.images, game.players)
    keys = row_keys(config.seed, game.images) if keys is None else keys
    check_keys(keys, game.images)
    keys, before = keys.cpu(), game.forwards.clone()
    plans = [
        plan_sets(game.players, order, config.contexts, config.units, balanced=config.method == "balanced")
        for order in orders
    ]
    per_order = [_one_order(game, pairs, keys, plan, config) for plan in plans]
    overall = None
    if config.method != "faithful" and config.permutations:
        overall = signed_means(game, orders, keys=keys, draws=config.permutations)
    faithful = config.method == "faithful"
    return Profile.of(
        per_order,
        method=config.method,
        players=game.players,
        names=game.names,
        orders=orders,
        units=tuple(config.contexts if faithful else plan.units for plan in plans),
        exact=tuple(not faithful and plan.exact for plan in plans),
        pairs=pairs,
        overall=overall,
        forwards=game.forwards - before,
    )


def _one_order(game: Game, pairs: Tensor, keys: Tensor, plan: Plan, config: InteractionsConfig) -> Strengths:
    faithful = config.method == "faithful"
    units = config.contexts if faithful else plan.sets
    masks = 4 * pairs.shape[1] if faithful else 1 + game.players + pairs.shape[1]
    parts: list[Strengths] = []
    for block in image_blocks(game.images, units, masks, pairs.shape[1], len(game.names)):
        rows = torch.arange(block.start, block.stop)
        sums: Sums = (
            pair_sums(game, rows, keys[block], pairs[block], plan.order, config.contexts)
            if faithful
            else shared_sums(game, rows, keys[block], pairs[block], plan)
        )
        parts.append(strengths(sums))
    return Strengths.join(parts)
