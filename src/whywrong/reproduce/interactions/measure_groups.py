"""Profiles of groups of images and of their sources, with the same pairs, contexts and classes.

An error and its source share their key, hence their pairs and contexts (common random numbers), and are measured for
the same class t. The source of several errors is measured once, for all their classes from the same passes. Source: Ren
et al. 2021 (clean and attacked image in the same contexts).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from whywrong.core.errors import InputError
from whywrong.core.randomness import keyed_bits
from whywrong.explain.interactions.blocks import block_pairs
from whywrong.explain.interactions.estimators import InteractionsConfig, estimate
from whywrong.explain.interactions.pairs import RATIOS, orders_of
from whywrong.explain.interactions.profile import Profile
from whywrong.explain.interactions.random_streams import PILOT
from whywrong.explain.masking.games import Game
from whywrong.explain.masking.players import PlayersConfig
from whywrong.explain.masking.values import KINDS
from whywrong.models.classifier import Classifier
from whywrong.reproduce.interactions.allocation import PILOT_CONTEXTS, PILOT_IMAGES, contexts_by_order
from whywrong.reproduce.interactions.features import Features
from whywrong.reproduce.interactions.groups import MADE, Group, Groups
from whywrong.reproduce.interactions.measurement_plan import MeasurementPlan, plan_measurements
from whywrong.reproduce.interactions.several_targets import SeveralTargets

_CHUNK = 16  # images measured together, between two reports of progress


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureConfig:
    """How groups are measured, checked once, when built.

    Attributes:
        value: Kind of value function, as in ``ValueFunction``; measured for the true class, the class t, and their
            difference.
        players: Kind of players.
        method: Estimator: ``balanced``, ``shared`` or ``faithful``.
        contexts: K, draws of each pair at an order, on average over the orders, the same in every image; at least 2.
        noise: Share in (0, 1) of the variance between images that may be sampling noise; contexts are allocated to
            orders accordingly, by a pilot. None gives all orders the same.
        units: Smallest number of independent permutations per order, at least 2.
        ratios: Orders, as shares in [0, 1] of the n - 2 other players.
        blocks: Blocks of neighbouring players whose pairs are measured, at positions drawn with each image's key.
        side: Players per side of a block.
        radius: Largest distance of a pair, in rows and columns.
        seed: Part of the identity of a measurement; images draw from their keys.
    """

    value: str = "log_odds"
    players: PlayersConfig = field(default_factory=PlayersConfig)
    method: Literal["balanced", "shared", "faithful"] = "balanced"
    contexts: int = 40
    noise: float | None = 0.08
    units: int = 4
    ratios: tuple[float, ...] = RATIOS
    blocks: int = 1
    side: int = 2
    radius: int = 2
    seed: int = 0

    def __post_init__(self) -> None:
        if self.value not in KINDS:
            raise InputError(f"value must be one of {', '.join(KINDS)}, got {self.value!r}")
        for name, least in (("blocks", 1), ("side", 2), ("radius", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.noise is not None and not 0 < self.noise < 1:
            raise InputError(f"noise is a share of the variance between images in (0, 1), got {self.noise}")
        orders_of(1000, self.ratios)
        self.of_order(0, self.contexts)

    def of_order(self, order: int, contexts: int) -> InteractionsConfig:
        """Return the settings of the estimator for one order."""
        return InteractionsConfig(
            method=self.method, contexts=contexts, units=self.units, permutations=0, orders=(order,)
        )


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """Measurements of one group.

    Attributes:
        group: The images.
        own: Features of its images.
        source: Features of their sources, for the same class t; None if the images are unchanged.
        source_x: (G, C, H, W), the sources; None if the images are unchanged.
    """

    group: Group
    own: Features
    source: Features | None
    source_x: Tensor | None


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredGroups:
    """Measurements of all groups.

    Attributes:
        groups: Groups by name.
        names: Names of the three values, such as ``log_odds_true``.
        orders, ratios: R orders s, and s / (n - 2).
        players: Number n of players.
        kind: ``pixels`` or ``tokens``.
        fallback: Why pixels were used instead of tokens; None otherwise.
        exact: Orders that were enumerated.
        pairs: Pairs per image.
        images: Number of images measured, including sources.
        forwards: Forward passes of all images.
        settings: How the groups were made.
        notes: Limits of the comparison.
    """

    groups: dict[str, Measured]
    names: tuple[str, ...]
    orders: tuple[int, ...]
    ratios: tuple[float, ...]
    players: int
    kind: str
    fallback: str | None
    exact: tuple[bool, ...]
    pairs: int
    images: int
    forwards: int
    settings: str
    notes: tuple[str, ...]


def measure_groups(
    classifier: Classifier,
    groups: Groups,
    *,
    config: MeasureConfig | None = None,
    progress: Callable[[int, int, int], None] | None = None,
) -> MeasuredGroups:
    """Measure the profiles of all images of all groups, and of their sources.

    Args:
        classifier: Images to logits.
        groups: From :func:`whywrong.reproduce.interactions.make_groups.make_groups`.
        config: Settings; None uses the defaults.
        progress: Called every few images with the number measured, the total, and the passes so far.

    Raises:
        InputError: The images do not allow a grid, order or tile.
        NonFiniteError: The classifier returns NaN or infinity for a masked image.
    """
    config = config or MeasureConfig()
    jobs, places = plan_measurements(groups)
    pilot, contexts = _pilot(classifier, jobs, config)
    parts: list[Features] = []
    forwards = pilot
    part: _Part | None = None
    for chunk in torch.arange(len(jobs.y)).split(_CHUNK):
        part = _measure(classifier, jobs, chunk, jobs.keys[chunk], contexts, config)
        parts.append(part.features)
        forwards += part.forwards
        if progress is not None:
            progress(int(chunk[-1]) + 1, len(jobs.y), forwards)
    assert part is not None, "groups are never empty"
    game, orders = part.game, part.orders
    every = Features.join(parts)
    measured: dict[str, Measured] = {}
    for name, group in groups.groups.items():
        source, source_x = None, None
        if name in MADE:
            source, source_x = every.pick(*places[name]["source"]), groups.x[group.rows.to(groups.x.device)]
        measured[name] = Measured(group, every.pick(*places[name]["own"]), source, source_x)
    return MeasuredGroups(
        groups=measured,
        names=game.names[:3],
        orders=orders,
        ratios=tuple(order / (game.players - 2) for order in orders),
        players=game.players,
        kind=game.kind,
        fallback=game.fallback,
        exact=part.exact,
        pairs=part.pairs,
        images=len(jobs.y),
        forwards=forwards,
        settings=groups.settings,
        notes=groups.notes,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """Measurements of a few images."""

    features: Features
    game: SeveralTargets
    orders: tuple[int, ...]
    exact: tuple[bool, ...]
    pairs: int
    forwards: int


def _pilot(classifier: Classifier, jobs: MeasurementPlan, config: MeasureConfig) -> tuple[int, int | tuple[int, ...]]:
    """Run the pilot, and return its passes and the contexts of each order."""
    if config.noise is None:
        return 0, config.contexts
    rows = torch.linspace(0, len(jobs.y) - 1, min(PILOT_IMAGES, len(jobs.y))).long()
    keys = keyed_bits(jobs.keys[rows], (1,), PILOT)[:, 0]
    few = min(PILOT_CONTEXTS, config.contexts)
    parts = [
        _measure(classifier, jobs, rows[some], keys[some], few, config)
        for some in torch.arange(len(rows)).split(_CHUNK)
    ]
    features = Features.join([part.features for part in parts])
    contexts = contexts_by_order(features, parts[0].exact, contexts=config.contexts, noise=config.noise)
    return sum(part.forwards for part in parts), contexts


def _measure(
    classifier: Classifier,
    jobs: MeasurementPlan,
    rows: Tensor,
    keys: Tensor,
    contexts: int | tuple[int, ...],
    config: MeasureConfig,
) -> _Part:
    """Measure the profiles of the images in ``rows``, with contexts drawn by ``keys``.

    Their number is one for all orders, or one per order.
    """
    game = SeveralTargets(
        classifier,
        jobs.x[rows.to(jobs.x.device)],
        jobs.y[rows],
        targets=jobs.targets[rows, : int(jobs.width[rows].max())],
        value=config.value,
        config=config.players,
    )
    pairs = block_pairs(keys, game.rows, game.cols, side=config.side, blocks=config.blocks, radius=config.radius)
    orders = orders_of(game.players, config.ratios)
    of_order = (contexts,) * len(orders) if isinstance(contexts, int) else contexts
    profiles = [
        estimate(game, pairs, keys=keys, config=config.of_order(order, number))
        for order, number in zip(orders, of_order, strict=True)
    ]
    return _Part(
        features=_features(profiles, game, jobs.targets.shape[1]),
        game=game,
        orders=orders,
        exact=tuple(profile.exact[0] for profile in profiles),
        pairs=pairs.shape[1],
        forwards=int(game.forwards.sum()),
    )


def _features(profiles: Sequence[Profile], game: Game, targets: int) -> Features:
    """Collect features (b, ..., 1 + 2 T) of a chunk.

    Unused slots are NaN.
    """
    ends = game(torch.stack([torch.ones(game.players), torch.zeros(game.players)]).bool().expand(game.images, 2, -1))
    found = {"full": ends[:, 0], "empty": ends[:, 1]}
    found["raw"] = torch.cat([profile.mean.square().nanmean(2) for profile in profiles], 1)
    for entry in fields(Features):
        if entry.name not in found:
            found[entry.name] = torch.cat([getattr(profile, entry.name) for profile in profiles], 1)
    missing = 1 + 2 * targets - len(game.names)
    padded = {
        name: np.pad(values.numpy(), [(0, 0)] * (values.ndim - 1) + [(0, missing)], constant_values=np.nan)
        for name, values in found.items()
    }
    return Features(**padded)
