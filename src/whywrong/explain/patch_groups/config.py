"""Settings of patch groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from whywrong.core.errors import InputError
from whywrong.explain.masking.coarse import coarse_players
from whywrong.explain.masking.pixels import Baseline
from whywrong.explain.masking.players import PlayersConfig
from whywrong.explain.masking.values import ValueFunction
from whywrong.models.classifier import Classifier


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchGroupsConfig:
    """Settings of :func:`patch_groups`, checked once, when built.

    Attributes:
        kind: ``tokens``, patches are patch tokens that are dropped; ``pixels``, cells hidden by a baseline; ``auto``,
            tokens if the model can drop them, otherwise pixels, with the reason in column ``fallback``.
        grid: g for g x g patches; None uses the largest grid up to 8 x 8 that consists of whole patch tokens or divides
            the image. Twice as many patches per side cost about 16 times the passes.
        baseline: Replacement for hidden cells of pixels: ``image_mean``, ``data_mean`` or ``blur``.
        value: Value of a class that the search follows: ``log_odds``, ``log_prob``, ``logit`` or ``margin``.
        most: Largest share of the patches in a group, in (0, 1]; a search that reaches it ends without a result.

    Example:
        >>> import whywrong as ww
        >>> ww.PatchGroupsConfig(grid=8).most
        0.25
    """

    kind: Literal["auto", "tokens", "pixels"] = "auto"
    grid: int | None = None
    baseline: Baseline = "image_mean"
    value: str = "log_odds"
    most: float = 0.25

    def __post_init__(self) -> None:
        PlayersConfig(kind=self.kind, grid=self.grid, baseline=self.baseline)  # checks all three
        ValueFunction(kind=self.value)
        if isinstance(self.most, bool) or not isinstance(self.most, int | float) or not 0 < self.most <= 1:
            raise InputError(f"patch_groups.most must be in (0, 1], a share of the patches, got {self.most!r}")

    def steps(self, players: int) -> int:
        """Return the largest number of patches in a group, at least 1."""
        return max(1, int(self.most * players + 1e-9))

    def players(self, classifier: Classifier, x: Tensor) -> PlayersConfig:
        """Choose the kind of players for images of the size of ``x`` (B, C, H, W)."""
        return coarse_players(classifier, x, kind=self.kind, grid=self.grid, baseline=self.baseline)
