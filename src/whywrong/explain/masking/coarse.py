"""Coarse grids for single images, because a small budget resolves few players better than many."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from whywrong.explain.masking.pixels import Baseline
from whywrong.explain.masking.players import PlayersConfig
from whywrong.explain.masking.tokens import CannotDropTokens, token_source
from whywrong.models.classifier import Classifier

MOST_A_SIDE = 8


def coarse_players(
    classifier: Classifier,
    x: Tensor,
    *,
    kind: Literal["auto", "tokens", "pixels"] = "auto",
    grid: int | None = None,
    baseline: Baseline = "image_mean",
) -> PlayersConfig:
    """Choose at most 8 x 8 players if no grid is given.

    They are whole patch tokens if the model has any.

    Args:
        classifier: Its tokens are looked up; the passes for this are not counted.
        x: (B, C, H, W), images of the size in question; their pixels do not matter.
        kind, grid, baseline: As in :class:`PlayersConfig`; a ``grid`` that is given stays.

    Raises:
        InputError: As for :class:`PlayersConfig`.
    """
    if grid is None and kind != "pixels" and (tokens := _token_grid(classifier, x)) is not None:
        grid = coarse_grid(*tokens)
    if grid is None and kind != "tokens":
        grid = coarse_grid(x.shape[2], x.shape[3])
    return PlayersConfig(kind=kind, grid=grid, baseline=baseline)


def coarse_grid(height: int, width: int, most: int = MOST_A_SIDE) -> int | None:
    """Find the largest grid of 2 to ``most`` players a side that divides an image.

    None if no such grid divides ``height`` x ``width``.
    """
    fitting = [g for g in range(2, most + 1) if height % g == 0 and width % g == 0]
    return fitting[-1] if fitting else None


def _token_grid(classifier: Classifier, x: Tensor) -> tuple[int, int] | None:
    """Return rows and columns of patch tokens.

    None if the model cannot drop tokens.
    """
    try:
        return token_source(classifier, (x.shape[1], x.shape[2], x.shape[3])).grid
    except CannotDropTokens:
        return None
