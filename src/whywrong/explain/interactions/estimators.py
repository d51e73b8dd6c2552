"""Three estimators of multi-order interactions of pairs of players.

``faithful``: separate contexts for every pair and order, four passes per draw, the same at the end orders. ``shared``:
every context is used for all pairs outside it; if there are few sets, all are taken. ``balanced``: contexts are windows
of a permutation, and every window is used for every pair, so that all players occur about equally often in the contexts
of a pair, which cancels the part of D that is linear in the context.

With ``precision`` the number of draws of an image and order follows from the noise of a pilot; the pilot's own draws
enter no estimate, so that they cause no bias.

Source: Deng et al. 2022, section 3 and official code (``faithful``); the others are ours, unbiased for the same means.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from whywrong.core.checks import check_keys
from whywrong.core.errors import InputError
from whywrong.core.randomness import row_keys
from whywrong.explain.interactions.budget_allocation import Request, Share, enumerated, shares
from whywrong.explain.interactions.curves import passes_of_signed_means, signed_means
from whywrong.explain.interactions.draws import image_blocks, pair_sums, shared_sums, without_rounding
from whywrong.explain.interactions.pairs import check_orders, check_pairs, orders_of
from whywrong.explain.interactions.profile import Profile
from whywrong.explain.interactions.strengths import Strengths, strengths
from whywrong.explain.masking.games import Game

METHODS = ("faithful", "shared", "balanced")


@dataclass(frozen=True, slots=True, kw_only=True)
class InteractionsConfig:
    """Settings of :func:`estimate`, checked once, when built.

    Attributes:
        method: ``faithful``, ``shared`` or ``balanced``.
        contexts: K, draws of D for each pair and order; on average for ``shared`` and ``balanced``. At least 2, because
            one draw does not reveal its noise. The maximum if ``precision`` or ``max_passes`` is given.
        orders: s in 0..n-2, none twice; None takes floor(r (n-2)) of the 13 published ratios r.
        units: Fewest independent permutations of an order in ``balanced``; at least 2. Fewer cancel more noise, more
            make the intervals narrower for the same noise.
        permutations: Draws of the mean over all pairs by identity (c), 11 passes each, for ``shared`` and ``balanced``;
            0 omits it, otherwise at least 2.
        precision: Largest share, in (0, 1), of the mean square of the pairs that may be sampling noise, for every
            value; an image's orders get contexts accordingly, up to ``contexts``. None gives all orders the same.
        pilot: Contexts of the pilot that ``precision`` needs, at least 2.
        max_passes: Largest number of passes per image, including all orders, the pilot, ``permutations`` and the game's
            own first pass; None for no limit. If it is reached, the contexts of all sampled orders are reduced by the
            same factor.
        seed: Seed of the draws if no keys are given.
    """

    method: Literal["faithful", "shared", "balanced"] = "balanced"
    contexts: int = 16
    orders: tuple[int, ...] | None = None
    units: int = 4
    permutations: int = 8
    precision: float | None = None
    pilot: int = 8
    max_passes: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise InputError(f"interactions.method must be one of {', '.join(METHODS)}, got {self.method!r}")
        for name in ("contexts", "units", "pilot"):
            if getattr(self, name) < 2:
                raise InputError(f"interactions.{name} must be at least 2, got {getattr(self, name)}")
        if self.permutations < 0 or self.permutations == 1:
            raise InputError(f"interactions.permutations must be 0 or at least 2, got {self.permutations}")
        if self.orders is not None and not self.orders:
            raise InputError("interactions.orders must name at least one order, or be None")
        if self.precision is not None and not 0 < self.precision < 1:
            raise InputError(f"interactions.precision is a share of noise in (0, 1), got {self.precision}")
        if self.precision is not None and self.method == "faithful":
            raise InputError('interactions.precision needs method "shared" or "balanced": the published one is fixed')
        if self.max_passes is not None and self.max_passes < 1:
            raise InputError(f"interactions.max_passes must be at least 1, got {self.max_passes}")


def estimate(
    game: Game, pairs: Tensor, *, keys: Tensor | None = None, config: InteractionsConfig | None = None
) -> Profile:
    """Estimate interactions of pairs, order by order, for all images of a game.

    Args:
        game: Values of sets of n players, for B images.
        pairs: (P, 2) int64, the same for every image, or (B, P, 2); players in 0..n-1, no pair twice. The shared
            estimators are cheaper for many pairs among few players.
        keys: Seed of each image's contexts, (B,) int64; None uses (config.seed, row). Images with the same key share
            their contexts, as far as both have them.
        config: Settings; None uses the defaults.

    Returns:
        The profile, with the passes it took.

    Raises:
        InputError: Pairs, orders or keys break the contract above, or the cap on passes is too low for them.
        NonFiniteError: The game returned NaN or infinity.
    """
    config = config or InteractionsConfig()
    orders = orders_of(game.players) if config.orders is None else tuple(config.orders)
    check_orders(orders, game.players)
    pairs = check_pairs(pairs, game.images, game.players)
    keys = row_keys(config.seed, game.images) if keys is None else keys
    check_keys(keys, game.images)
    keys, before = keys.cpu(), game.forwards.clone()
    if config.method == "faithful":
        return _faithful(game, orders, pairs, keys, config)
    left = None
    if config.max_passes is not None:
        first = passes_of_signed_means(game.players, orders, config.permutations) if config.permutations else 0
        left = config.max_passes - game.setup - first
    budget = None if left is None else torch.full((game.images,), left)
    exact = enumerated(
        game.players, orders, pairs.shape[1], config.contexts, left, balanced=config.method == "balanced"
    )
    request = Request(game.players, orders, exact, pairs, keys, config.units, config.method == "balanced")
    contexts = torch.full((game.images, len(orders)), float(config.contexts), dtype=torch.float64)
    if config.precision is not None:
        contexts = _by_pilot(game, request, contexts, budget, config)
        budget = None if budget is None else budget - (game.forwards - before)
    found = shares(request, contexts, budget)
    parts = [_one_order(game, request, share) for share in found]
    overall = None
    if config.permutations:
        overall = signed_means(game, orders, keys=keys, draws=config.permutations)
    return Profile.of(
        [part for part, _ in parts],
        method=config.method,
        players=game.players,
        names=game.names,
        orders=orders,
        units=tuple(share.plan.units for share in found),
        exact=tuple(share.plan.exact for share in found),
        pairs=pairs,
        overall=overall,
        forwards=game.forwards - before,
        units_used=torch.stack([share.units for share in found], 1),
        passes=torch.stack([passes for _, passes in parts], 1),
        precision=config.precision,
    )


def _one_order(game: Game, request: Request, share: Share) -> tuple[Strengths, Tensor]:
    """Return the strengths of all images, and the passes (B,) they took."""
    before, plan, pairs = game.forwards.clone(), share.plan, request.pairs
    masks = plan.sets * (1 + game.players + pairs.shape[1])
    parts: list[Strengths] = []
    rounding = game.rounding()
    for block in image_blocks(game.images, plan.sets, masks, pairs.shape[1], len(game.names)):
        rows = torch.arange(block.start, block.stop)
        sums = shared_sums(game, rows, request.keys[block], pairs[block], plan, share.ran(block))
        parts.append(strengths(without_rounding(sums, rounding[block])))
    return Strengths.join(parts), game.forwards - before


def _by_pilot(
    game: Game, request: Request, contexts: Tensor, budget: Tensor | None, config: InteractionsConfig
) -> Tensor:
    """Compute the contexts (B, R) that reduce noise to the required share.

    The noise is estimated from separate draws.

    Noise falls as 1/K: with n the mean square of the noise of a single draw, n/K <= p (U + n/K) requires K = n (1-p) /
    (p U).
    """
    assert config.precision is not None
    sampled = [number for number, exact in enumerate(request.exact) if not exact]
    if not sampled:
        return contexts
    orders = tuple(request.orders[number] for number in sampled)
    pilot = replace(request, orders=orders, exact=(False,) * len(orders), pilot=True)
    few = torch.full((game.images, len(sampled)), float(min(config.pilot, config.contexts)), dtype=torch.float64)
    found = shares(pilot, few, None if budget is None else budget // 3)
    wanted = contexts.clone()
    for number, share in zip(sampled, found, strict=True):
        part, _ = _one_order(game, pilot, share)
        single = (part.mean.square().nanmean(1) - part.U) * part.draws.double().mean(1, keepdim=True)  # (B, V)
        needed = single * (1 - config.precision) / (config.precision * part.U.clamp_min(1e-300))
        needed = needed.nan_to_num(nan=0.0).amax(1).clamp(min(config.pilot, config.contexts), config.contexts)
        wanted[:, number] = needed.where(share.units > 0, wanted[:, number])  # no pilot, no saving
    return wanted


def _faithful(game: Game, orders: tuple[int, ...], pairs: Tensor, keys: Tensor, config: InteractionsConfig) -> Profile:
    """Sample as published, with K contexts for every pair and order, including the end orders."""
    contexts, before, count = config.contexts, game.forwards.clone(), pairs.shape[1]
    if config.max_passes is not None:
        contexts = min(contexts, (config.max_passes - game.setup) // (4 * count * len(orders)))
        if contexts < 2:
            raise InputError(
                f"two contexts of {count} pairs at {len(orders)} orders take {8 * count * len(orders) + game.setup} "
                f"passes: raise max_passes, got {config.max_passes}, or ask for fewer pairs or orders"
            )
    blocks = list(image_blocks(game.images, contexts, 4 * count, count, len(game.names)))
    rows, rounding = torch.arange(game.images), game.rounding()
    per_order = [
        Strengths.join(
            [
                strengths(without_rounding(pair_sums(game, rows[b], keys[b], pairs[b], order, contexts), rounding[b]))
                for b in blocks
            ]
        )
        for order in orders
    ]
    return Profile.of(
        per_order,
        method=config.method,
        players=game.players,
        names=game.names,
        orders=orders,
        units=(contexts,) * len(orders),
        exact=(False,) * len(orders),
        pairs=pairs,
        overall=None,
        forwards=game.forwards - before,
        units_used=torch.full((game.images, len(orders)), contexts),
        passes=torch.full((game.images, len(orders)), 4 * contexts * count),
    )
