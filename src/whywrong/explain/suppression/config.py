"""Settings of promotion and suppression."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from whywrong.core.errors import InputError
from whywrong.explain.suppression.effects import MODES, Mode
from whywrong.explain.suppression.measures import GAUGES, Gauge

Cells = Literal["grid", "superpixels"]
_FINE_FROM = 65  # pixels a side from which the default grid has 14 cells instead of 8
_FEWEST_PIXELS = 4  # a side of a cell of the default grid


@dataclass(frozen=True, slots=True, kw_only=True)
class SuppressionConfig:
    """Settings of :func:`suppression` and :func:`promotion_suppression`, checked when built.

    Attributes:
        cells: ``grid``, or ``superpixels`` of the image with the change.
        grid: Cells a side of the grid; None takes 14 for images of more than 64 pixels a side and 8 otherwise, fewer if
            a cell would have under 4 pixels a side.
        superpixels: Superpixels of a large image; small images get fewer.
        mode: ``remove`` takes the change of one cell away from the changed image, ``insert`` adds it to the unchanged
            one; ``path`` integrates gradients between the two; ``shapley`` estimates Shapley values.
        gauge: Scores that are compared: ``raw`` logits, ``centred`` by their mean over classes, or ``logprob``.
        eps: Effect below which a cell counts as neutral, in units of the scores; None takes 0.001, or 0.001 of the
            spread of the logits if that is below 0.1 or above 1,000.
        nodes: Gauss-Legendre nodes of ``path``.
        permutations: Permutations of ``shapley``, in antithetic pairs.
        beyond: How far beyond its minimal length a fix is extended before quarters of its cells are tested; 0.5 is half
            as far again. Without it no part of a smallest fix is enough, and every part is necessary.
        tolerance: Largest residual of ``path`` and ``shapley``, as a share of all absolute effects; above it the row is
            refused.
        control: Whether the same change with random signs is measured too, except with ``shapley``.
        maps: Whether class activation maps of both classes on both images are computed, if the layers are accessible.
        seed: Seed of random signs and orders, if no keys are given.

    Example:
        >>> import whywrong as ww
        >>> ww.SuppressionConfig(grid=4).mode
        'remove'
    """

    cells: Cells = "grid"
    grid: int | None = None
    superpixels: int = 100
    mode: Mode = "remove"
    gauge: Gauge = "raw"
    eps: float | None = None
    nodes: int = 16
    permutations: int = 16
    beyond: float = 0.5
    tolerance: float = 0.05
    control: bool = True
    maps: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        allowed = {"cells": ("grid", "superpixels"), "mode": MODES, "gauge": GAUGES}
        for name, values in allowed.items():
            if getattr(self, name) not in values:
                raise InputError(f"{name} must be one of {', '.join(values)}, got {getattr(self, name)!r}")
        if self.grid is not None and not 2 <= self.grid <= 64:
            raise InputError(f"grid must be in 2..64 cells a side, got {self.grid}")
        for name, low, high in (("superpixels", 3, 1000), ("nodes", 1, 256), ("permutations", 1, 10_000)):
            if not low <= getattr(self, name) <= high:
                raise InputError(f"{name} must be in {low}..{high}, got {getattr(self, name)}")
        if self.eps is not None and not (0 < self.eps < math.inf):
            raise InputError(f"eps must be a positive number, got {self.eps}")
        if not 0 <= self.beyond <= 10:
            raise InputError(f"beyond must be in 0..10, got {self.beyond}")
        if not 0 < self.tolerance <= 1:
            raise InputError(f"tolerance must be a share in (0, 1], got {self.tolerance}")

    def grid_of(self, height: int, width: int) -> int:
        """Return the cells a side of the grid for an image of this size."""
        if self.grid is not None:
            return self.grid
        side = min(height, width)
        return max(1, min(14 if side >= _FINE_FROM else 8, side // _FEWEST_PIXELS))
