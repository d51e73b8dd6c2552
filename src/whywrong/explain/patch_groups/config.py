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
        kind: ``tokens``, patches are patch tokens that are left out; ``pixels``, cells hidden by a baseline; ``auto``,
            tokens where the model can leave them out, else pixels, with the reason in column ``fallback``.
        grid: g for g x g patches; None takes the largest grid up to 8 x 8 of whole patch tokens, or that divides the
            image. Twice the patches a side cost about 16 times the passes.
        baseline: What hides cells of pixels: ``image_mean``, ``data_mean`` or ``blur``.
        value: What is followed, of a class: ``log_odds``, ``log_prob``, ``logit`` or ``margin``.
        most: Largest share of the patches that a group may take, in (0, 1]; a search ends there without a find.

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
        """Most patches of a group, at least 1."""
        return max(1, int(self.most * players + 1e-9))

    def players(self, classifier: Classifier, x: Tensor) -> PlayersConfig:
        """What the players of images of the size of ``x`` (B, C, H, W) are."""
        return coarse_players(classifier, x, kind=self.kind, grid=self.grid, baseline=self.baseline)
