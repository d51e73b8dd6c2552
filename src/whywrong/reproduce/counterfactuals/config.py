"""Settings of the claims of sparse counterfactuals."""

from __future__ import annotations

import math
from dataclasses import dataclass

from whywrong.core.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterfactualClaimConfig:
    """Settings of the claims ``counterfactuals.C1`` to ``C5`` and ``C8``.

    Attributes:
        limit: Largest number of images, the first in the order of the data; each is changed into one random class other
            than the predicted one.
        scale: Factor on the default radius of every exponent.
        steps: Steps of a search in C1, C2 and C8, and of the short search of C3.
        long: Steps of the long search of C3, and of the published solvers in C4 and C5.
        kept: Share of the long search's probability that the short one must reach in C3.
        points: Difference of mean probabilities that counts as equal in C4.
        unused: Share of the radius that the published solver must leave unused, on average, in C5.
        seed: Seed of targets and random starts.
    """

    limit: int = 100
    scale: float = 1.0
    steps: int = 30
    long: int = 75
    kept: float = 0.95
    points: float = 0.05
    unused: float = 0.02
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("limit", "steps", "long"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 < self.scale < math.inf:
            raise InputError(f"scale must be positive and finite, got {self.scale}")
        for name in ("kept", "points", "unused"):
            if not 0 < getattr(self, name) < 1:
                raise InputError(f"{name} must be a share in (0, 1), got {getattr(self, name)}")
