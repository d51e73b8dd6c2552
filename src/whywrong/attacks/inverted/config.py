"""Settings of the inverted attack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from whywrong.core.config import check_radius
from whywrong.core.errors import InputError

Norm = Literal["l2", "linf", "l1", "l0"]
Attack = Literal["newton", "sign", "one_gradient"]


@dataclass(frozen=True, slots=True, kw_only=True)
class InvertedConfig:
    """Settings of :func:`whywrong.attacks.inverted.invert`, validated on construction.

    Attributes:
        attack: ``newton`` is newton-then-shrink, the default; ``sign`` the iterative sign attack A1 and
            ``one_gradient`` the growing one-gradient step A2, which are kept for reproduction and do not shrink.
        norm: Norm whose first-order minimiser ``newton`` steps along and in which it shrinks.
        overshoot: How far beyond the linearised boundary a candidate goes; 0.5 is half as far again. Shrinking removes
            the excess, so a large value costs nothing in the end and saves candidates.
        rivals: Number of other classes that the first step in l2 avoids at once, 1 to 5, one backward pass each; steps
            in other norms, and later steps, use only the highest-scoring one.
        rounds: Most Newton candidates per image; the sign attack follows if none succeeds.
        fallback_step: Step of that sign attack, [0, 1] units.
        steps: Most candidates of the sign attacks, also as fallback.
        step_size: Step of ``sign`` and ``one_gradient``, [0, 1] units.
        budget: Most candidates per image in all; None for only the limits ``rounds`` and ``steps``. 0 sends none.
        radius: Largest change of any pixel, [0, 1] units; 1 leaves the pixel range as the only bound.
        safety: Margin by which an image must be correctly classified, as a share of the scale of its logits.
        polish: Most refinements of the fix in ``norm``, one forward and one backward pass each; 0 for none.
        polish_other: The same in the other of l2 and linf, for the distance in that norm.
        tighten: Tests on the line from the image to the refined fix, to find where it crosses the boundary; 0 for none.
        quantise: Also make a fix of whole grey levels.
        segments: Number of superpixels of a large image; small images get fewer.
        region_overshoot: As ``overshoot``, for the candidates of the region fix.
        region_change: Largest change of a pixel in one step of the region fix, [0, 1] units; beyond it, another
            superpixel is added instead.
        region_limit: Largest share of an image's superpixels in a region fix.
        region_rounds: Most candidates of the region fix per image.
        regions: Superpixels listed per image, by their share of the contribution.
        tested_regions: How many of them, from the first, are tested for being sufficient and necessary; two forward
            passes each.
        halvings: Most halvings of a segment of the path from image to fix whose contribution does not add up. Each
            segment takes 3 or 7 forward and backward passes.
        completeness: Residual of the contribution, as a share of the decrease of the margin, above which it is halved.
        beyond: How far beyond its minimal length a fix is extended before regions are tested on it.
        seed: Seed of the directions used if the gradient is zero, used if no keys are given.

    Example:
        >>> import whywrong as ww
        >>> ww.InvertedConfig(norm="linf").segments
        100
    """

    attack: Attack = "newton"
    norm: Norm = "l2"
    overshoot: float = 3.0
    rivals: int = 3
    rounds: int = 20
    fallback_step: float = 2 / 255
    steps: int = 50
    step_size: float = 1 / 255
    budget: int | None = None
    radius: float = 1.0
    safety: float = 1e-5
    polish: int = 8
    polish_other: int = 5
    tighten: int = 3
    quantise: bool = True
    segments: int = 100
    region_overshoot: float = 0.5
    region_change: float = 0.25
    region_limit: float = 0.5
    region_rounds: int = 20
    regions: int = 5
    tested_regions: int = 3
    halvings: int = 4
    completeness: float = 0.018
    beyond: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        for name, allowed in (("attack", ("newton", "sign", "one_gradient")), ("norm", ("l2", "linf", "l1", "l0"))):
            if getattr(self, name) not in allowed:
                raise InputError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        for name in ("radius", "step_size", "fallback_step"):
            check_radius(name, getattr(self, name))
        for name, low, high in (("overshoot", 0.0, 10.0), ("safety", 1e-6, 0.01)):
            if not low <= getattr(self, name) <= high:
                raise InputError(f"{name} must be in [{low:g}, {high:g}], got {getattr(self, name)}")
        for name, least in (("rounds", 0), ("steps", 0), ("tighten", 0), ("polish", 0), ("polish_other", 0)):
            if getattr(self, name) < least:
                raise InputError(f"{name} must be at least {least}, got {getattr(self, name)}")
        self._check_explanation()
        if self.budget is not None and self.budget < 0:
            raise InputError(f"budget must be at least 0, got {self.budget}")
        if not 1 <= self.rivals <= 5:
            raise InputError(f"rivals must be in 1..5, got {self.rivals}")

    def _check_explanation(self) -> None:
        check_radius("region_change", self.region_change)
        for name, low, high in (
            ("segments", 1, 10_000),
            ("region_overshoot", 0.0, 10.0),
            ("region_rounds", 1, 1000),
            ("regions", 0, 100),
            ("tested_regions", 0, 100),
            ("halvings", 0, 20),
            ("beyond", 0.0, 10.0),
        ):
            if not low <= getattr(self, name) <= high:
                raise InputError(f"{name} must be in [{low:g}, {high:g}], got {getattr(self, name)}")
        for name in ("region_limit", "completeness"):
            if not 0 < getattr(self, name) <= 1:
                raise InputError(f"{name} must be in (0, 1], got {getattr(self, name)}")
