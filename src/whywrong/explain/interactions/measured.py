"""Profiles of groups of images and of their sources, with the same pairs, contexts and classes.

An error and the image it was made from share their key, hence their pairs and contexts (common random numbers), and
are measured for the same class t; an image that is the source of several errors is measured once, for all their classes
from the same passes.
Source: Ren et al. 2021 (clean and attacked image in the same contexts).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from itertools import groupby
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from whywrong.core.errors import InputError
from whywrong.explain.interactions.bands import within
from whywrong.explain.interactions.blocks import block_pairs
from whywrong.explain.interactions.estimators import InteractionsConfig, estimate
from whywrong.explain.interactions.features import Features
from whywrong.explain.interactions.games import Game
from whywrong.explain.interactions.groups import MADE, Group, Groups
from whywrong.explain.interactions.pairs import RATIOS, orders_of
from whywrong.explain.interactions.players import PlayersConfig
from whywrong.explain.interactions.profile import Profile
from whywrong.explain.interactions.several_targets import SeveralTargets
from whywrong.explain.interactions.values import KINDS
from whywrong.models.classifier import Classifier

MIDDLE = (0.1, 0.7)
_CHUNK = 16  # images measured together, between two reports of progress


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureConfig:
    """How groups are measured, checked once, when built.

    Attributes:
        value: Kind of value function, as in ``ValueFunction``; measured for the true class, the class t, and their
            difference.
        players: What the players are.
        method: Estimator: ``balanced``, ``shared`` or ``faithful``.
        contexts: K, draws of each pair at the outer orders, the same in every image; at least 2.
        middle: Times as many at the orders from r = 0.1 to 0.7, where interactions are weak and their noise is not; at
            least 1.
        units: Fewest independent permutations of an order, at least 2.
        ratios: Orders, as shares in [0, 1] of the n - 2 other players.
        blocks: Blocks of neighbouring players whose pairs are measured, at places drawn with each image's key.
        side: Players a side of a block.
        radius: Largest distance of a pair, in rows and columns.
        seed: Part of the identity of a measurement; images draw from their keys.
    """

    value: str = "log_odds"
    players: PlayersConfig = field(default_factory=PlayersConfig)
    method: Literal["balanced", "shared", "faithful"] = "balanced"
    contexts: int = 16
    middle: float = 2.0
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
        if not 1 <= self.middle < float("inf"):
            raise InputError(f"middle must be at least 1, got {self.middle}")
        orders_of(1000, self.ratios)
        self.of_band(())

    def of_band(self, orders: tuple[int, ...], *, middle: bool = False) -> InteractionsConfig:
        """Settings of the estimator for some orders."""
        contexts = round(self.contexts * self.middle) if middle else self.contexts
        return InteractionsConfig(
            method=self.method, contexts=contexts, units=self.units, permutations=0, orders=orders or None
        )


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """One group, measured.

    Attributes:
        group: The images.
        own: Features of the images themselves.
        source: Features of the images they were made from, for the same class t; None where nothing was done.
        source_x: (G, C, H, W), these images; None likewise.
    """

    group: Group
    own: Features
    source: Features | None
    source_x: Tensor | None


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredGroups:
    """All groups, measured.

    Attributes:
        groups: By name.
        names: Of the three values, as ``log_odds_true``.
        orders, ratios: R orders s, and s / (n - 2).
        players: n.
        kind: ``pixels`` or ``tokens``.
        fallback: Why pixels took the place of tokens; None where they did not.
        exact: Orders that were enumerated.
        pairs: Pairs an image.
        images: Images measured, sources included.
        forwards: Passes, all images together.
        settings: How the groups were made.
        notes: What makes the comparison weaker.
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
    """Profiles of every image of every group, and of the sources of those that were made.

    Args:
        classifier: Images to logits.
        groups: From :func:`whywrong.explain.interactions.making.make_groups`.
        config: Settings; None takes the defaults.
        progress: Told, after every few images, how many are measured, how many there are, and the passes so far.

    Raises:
        InputError: A grid, order or tile that the images do not allow.
        NonFiniteError: The classifier answers a masked image with NaN or infinity.
    """
    config = config or MeasureConfig()
    jobs, places = _jobs(groups)
    parts: list[Features] = []
    forwards = 0
    orders: tuple[int, ...] = ()
    exact: tuple[bool, ...] = ()
    game: SeveralTargets | None = None
    pairs = torch.empty(0)
    for chunk in torch.arange(len(jobs.y)).split(_CHUNK):
        width = int(jobs.width[chunk].max())
        game = SeveralTargets(
            classifier,
            jobs.x[chunk.to(jobs.x.device)],
            jobs.y[chunk],
            targets=jobs.targets[chunk, :width],
            value=config.value,
            config=config.players,
        )
        keys = jobs.keys[chunk]
        pairs = block_pairs(keys, game.rows, game.cols, side=config.side, blocks=config.blocks, radius=config.radius)
        profiles = _bands(game, pairs, keys, config)
        if not parts:
            orders = tuple(order for profile in profiles for order in profile.orders)
            exact = tuple(one for profile in profiles for one in profile.exact)
        parts.append(_features(profiles, game, jobs.targets.shape[1]))
        forwards += int(game.forwards.sum())
        if progress is not None:
            progress(int(chunk[-1]) + 1, len(jobs.y), forwards)
    assert game is not None, "groups are never empty"
    every = Features(**{e.name: np.concatenate([getattr(p, e.name) for p in parts]) for e in fields(Features)})
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
        exact=exact,
        pairs=pairs.shape[1],
        images=len(jobs.y),
        forwards=forwards,
        settings=groups.settings,
        notes=groups.notes,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Jobs:
    """All images to be measured, each once: those with most classes t first."""

    x: Tensor
    y: Tensor
    keys: Tensor
    targets: Tensor  # (N, T), the first ones of ``width`` (N,) count
    width: Tensor


def _jobs(groups: Groups) -> tuple[_Jobs, dict[str, dict[str, tuple[np.ndarray, np.ndarray]]]]:
    """The images, and for every group the rows and slots of its images and of their sources."""
    targets: dict[tuple[str, int], list[int]] = {}  # ("" for a clean image or its group, row) -> classes t
    about: dict[tuple[str, int], tuple[Group, int]] = {}
    uses: dict[str, dict[str, list[tuple[tuple[str, int], int]]]] = {}
    for name, group in groups.groups.items():
        uses[name] = {"own": [], "source": []}
        for place, (row, target) in enumerate(zip(group.rows.tolist(), group.target.tolist(), strict=True)):
            made = name in MADE
            for role, key in (("own", (name if made else "", row)), ("source", ("", row)))[: 1 + made]:
                slots = targets.setdefault(key, [])
                if target not in slots:
                    slots.append(target)
                about.setdefault(key, (group, place))
                uses[name][role].append((key, slots.index(target)))
    order = sorted(targets, key=lambda key: -len(targets[key]))
    number = {key: place for place, key in enumerate(order)}
    most = len(targets[order[0]])
    x = torch.stack([groups.x[key[1]] if key[0] == "" else about[key][0].x[about[key][1]] for key in order])
    jobs = _Jobs(
        x=x,
        y=torch.stack([about[key][0].y[about[key][1]] for key in order]),
        keys=torch.stack([about[key][0].keys[about[key][1]] for key in order]),
        targets=torch.tensor([(targets[key] * most)[:most] for key in order]),
        width=torch.tensor([len(targets[key]) for key in order]),
    )
    places = {
        name: {
            role: (
                np.array([number[key] for key, _ in used], dtype=np.int64),
                np.array([s for _, s in used], dtype=np.int64),
            )
            for role, used in roles.items()
        }
        for name, roles in uses.items()
    }
    return jobs, places


def _bands(game: Game, pairs: Tensor, keys: Tensor, config: MeasureConfig) -> list[Profile]:
    """Profiles of the orders at either end, and of those between, which get more contexts."""
    orders = orders_of(game.players, config.ratios)
    middle = within(orders, game.players, *MIDDLE).tolist()
    return [
        estimate(
            game,
            pairs,
            keys=keys,
            config=config.of_band(tuple(orders[number] for number, _ in run), middle=inside),
        )
        for inside, run in groupby(enumerate(middle), key=lambda entry: entry[1])
    ]


def _features(profiles: Sequence[Profile], game: Game, targets: int) -> Features:
    """Features (b, ..., 1 + 2 T) of a chunk; NaN in the slots that it does not use."""
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
