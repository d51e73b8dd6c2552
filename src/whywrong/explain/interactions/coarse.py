"""A grid of few patches for single images: a budget that is small for one image tells less noise from few players."""

from __future__ import annotations

from typing import Literal

from whywrong.explain.interactions.pixels import Baseline
from whywrong.explain.interactions.players import PlayersConfig
from whywrong.explain.interactions.tokens import CannotDropTokens, find_transformer
from whywrong.models.classifier import Classifier

MOST_A_SIDE = 8


def coarse_players(
    classifier: Classifier,
    height: int,
    width: int,
    *,
    kind: Literal["auto", "tokens", "pixels"] = "auto",
    grid: int | None = None,
    baseline: Baseline = "image_mean",
) -> PlayersConfig:
    """Players of at most 8 x 8, where no grid is asked for: of whole patch tokens where the model has such.

    Args:
        classifier: Asked for the size of its patches.
        height, width: Of the images, pixels.
        kind, grid, baseline: As in :class:`PlayersConfig`; a ``grid`` that is given stays.

    Raises:
        InputError: As :class:`PlayersConfig`.
    """
    if grid is None and kind != "pixels":
        grid = coarse_grid(classifier, height, width, MOST_A_SIDE, tokens=True)
    if grid is None and kind != "tokens":
        grid = coarse_grid(classifier, height, width, MOST_A_SIDE, tokens=False)
    return PlayersConfig(kind=kind, grid=grid, baseline=baseline)


def coarse_grid(classifier: Classifier, height: int, width: int, most: int, *, tokens: bool) -> int | None:
    """The largest grid of at most ``most`` players a side that divides the image, or its tokens.

    Args:
        classifier: Asked for the size of its patches.
        height, width: Of the image, pixels.
        most: Players a side.
        tokens: Whether the players are to be whole patch tokens.

    Returns:
        g, at least 2; None where there is none, or where tokens are asked for and the model has none.
    """
    if tokens:
        try:
            _, vit = find_transformer(classifier)
        except CannotDropTokens:
            return None
        patch: tuple[int, int] = vit.patch_embed.patch_size  # type: ignore[assignment,union-attr]
        height, width = -(-height // patch[0]), -(-width // patch[1])
    fitting = [g for g in range(2, most + 1) if height % g == 0 and width % g == 0]
    return fitting[-1] if fitting else None
