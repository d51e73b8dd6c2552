"""Settings of the claims about interactions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from whywrong.core.errors import InputError
from whywrong.explain.masking.coarse import coarse_players
from whywrong.explain.masking.pixels import Baseline
from whywrong.explain.masking.players import PlayersConfig
from whywrong.explain.masking.values import ValueFunction
from whywrong.models.classifier import Classifier
from whywrong.reproduce.interactions.groups import GROUPS, GroupsConfig
from whywrong.reproduce.interactions.measure_groups import MeasureConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class InteractionsClaimConfig:
    """Settings of the claims ``interactions.C1`` to ``C7``.

    Attributes:
        limit: Largest number of images per group.
        pool: Largest number of correctly classified images to read, from which errors are made.
        value: Value function: ``log_odds``, ``log_prob``, ``logit`` or ``margin``.
        eps: Radius of the linf attack, [0, 1] units.
        step_size: Length of its steps, [0, 1] units.
        steps: Its steps.
        kinds: Corruptions, separated by commas.
        severity: 1 to 5; none uses the smallest after which an image is misclassified.
        matched_drop: Drop of the true class's log-odds to which attack and corruption are adjusted, in nats, or
            ``corrupt_mis`` for that of the corrupted error of the same image; none does not adjust them.
        players: ``auto``, ``tokens`` or ``pixels``. C4 always uses pixels, so that both models see the same.
        grid: g for g x g players; none uses the largest up to 8 x 8 that consists of whole patch tokens or divides the
            image.
        baseline: Replacement for hidden cells of pixels: ``image_mean``, ``data_mean`` or ``blur``.
        blocks: Blocks of neighbouring players whose pairs are measured.
        side: Players per side of a block.
        contexts: Draws of each pair at an order, on average over the orders.
        noise: Share of the variance between images that may be sampling noise: contexts are allocated to orders
            accordingly, by a pilot; none gives all orders the same.
        permutations: Permutations for the mean curve F(k) in C7.
        draws: Bootstrap resamples, at least 1000.
        seed: Seed of the keys of the images, and of all resampling.
    """

    limit: int = 50
    pool: int = 400
    value: Literal["log_odds", "log_prob", "logit", "margin"] = "log_odds"
    eps: float = 8 / 255
    step_size: float = 2 / 255
    steps: int = 20
    kinds: str = "gaussian_noise,fog"
    severity: int | None = None
    matched_drop: float | Literal["corrupt_mis"] | None = None
    players: Literal["auto", "tokens", "pixels"] = "auto"
    grid: int | None = None
    baseline: Baseline = "image_mean"
    blocks: int = 1
    side: int = 2
    contexts: int = 40
    noise: float | None = 0.08
    permutations: int = 64
    draws: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.limit < 2:
            raise InputError(f"limit must be at least 2, got {self.limit}")
        if self.pool < self.limit:
            raise InputError(f"pool must be at least limit ({self.limit}), got {self.pool}")
        if self.permutations < 2:
            raise InputError(f"permutations must be at least 2, got {self.permutations}")
        if self.draws < 1000:
            raise InputError(f"draws must be at least 1000 for a 95 % interval, got {self.draws}")
        self.of_groups()
        self.on_pixels(self.grid or 8)

    def of_groups(self, names: tuple[str, ...] = GROUPS) -> GroupsConfig:
        """Return the settings with which groups are made."""
        return GroupsConfig(
            groups=names,
            per_group=self.limit,
            eps=self.eps,
            step_size=self.step_size,
            steps=self.steps,
            kinds=tuple(name.strip() for name in self.kinds.split(",")),
            severity=self.severity,
            matched_drop=self.matched_drop if "corrupt_mis" in names else None,
            skip_empty=True,
            seed=self.seed,
        )

    def of_measure(self, classifier: Classifier, x: Tensor) -> MeasureConfig:
        """Return the settings with which images (N, C, H, W) are measured.

        All images get the same contexts, seeded by their keys.
        """
        return self._measure(coarse_players(classifier, x, kind=self.players, grid=self.grid, baseline=self.baseline))

    def on_pixels(self, grid: int) -> MeasureConfig:
        """Return the same settings with g x g cells of pixels as players."""
        return self._measure(PlayersConfig(kind="pixels", grid=grid, baseline=self.baseline))

    def _measure(self, players: PlayersConfig) -> MeasureConfig:
        return MeasureConfig(
            value=self.value,
            players=players,
            contexts=self.contexts,
            noise=self.noise,
            blocks=self.blocks,
            side=self.side,
            seed=self.seed,
        )


def common_grid(sizes: Sequence[tuple[int, int]], most: int = 8) -> int:
    """Find the largest grid that divides images of all sizes (height, width).

    At most ``most`` cells a side.

    Raises:
        InputError: There is no such grid.
    """
    fitting = [g for g in range(2, most + 1) if all(h % g == 0 and w % g == 0 for h, w in sizes)]
    if not fitting:
        raise InputError(f"no grid of 2 to {most} cells a side divides all of {list(sizes)}; name one with grid")
    return fitting[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchClaimConfig:
    """Settings of the claim ``interactions.C8``.

    Attributes:
        limit: Largest number of correctly classified images, the first in the order of the data.
        value: Value function that the search follows, of the true class.
        share: Largest share of patches shown or hidden, in (0, 1).
        players: ``auto``, ``tokens`` or ``pixels``.
        grid: g for g x g patches; none uses at most 8 x 8.
        baseline: Replacement for hidden cells of pixels.
        permutations: Permutations for the sampled Shapley values.
        draws: Bootstrap resamples, at least 1000.
        seed: Seed of the keys of the images.
    """

    limit: int = 50
    value: Literal["log_odds", "log_prob", "logit", "margin"] = "log_odds"
    share: float = 0.1
    players: Literal["auto", "tokens", "pixels"] = "auto"
    grid: int | None = None
    baseline: Baseline = "image_mean"
    permutations: int = 20
    draws: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.limit < 2:
            raise InputError(f"limit must be at least 2, got {self.limit}")
        if not 0 < self.share < 1:
            raise InputError(f"share must be in (0, 1), got {self.share}")
        if self.permutations < 2:
            raise InputError(f"permutations must be at least 2, got {self.permutations}")
        if self.draws < 1000:
            raise InputError(f"draws must be at least 1000 for a 95 % interval, got {self.draws}")
        PlayersConfig(kind=self.players, grid=self.grid, baseline=self.baseline)
        ValueFunction(kind=self.value)
