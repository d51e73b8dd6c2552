"""Settings of a comparison of robustness."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from whywrong.attacks.balls import check_ball
from whywrong.core.errors import InputError
from whywrong.core.registry import nearest
from whywrong.data.affine import AffineRange
from whywrong.data.corruptions import KINDS, SEVERITIES
from whywrong.explain.robustness.kinds import ROWS


@dataclass(frozen=True, slots=True, kw_only=True)
class RobustnessConfig:
    """Settings of :func:`whywrong.explain.robustness.analysis.robustness`, checked when built.

    Attributes:
        rows: Names of the rows to measure; empty for all. The clean row and the control of an attack are added.
        images: Most labelled images, spread evenly over the data.
        draws: Random affine transforms, and random noises, per image.
        rotation: Largest rotation in degrees.
        shear: Largest shear.
        scale: Largest change of the scale of an axis, as a share.
        shift: Largest shift, as a share of the side.
        padding: What fills the border of a transformed image: ``reflection``, ``border`` or ``zeros`` (black).
        corruptions: Corruptions of whole images; empty for the 15 of ImageNet-C.
        severity: Their severity, 1 to 5.
        eps: Radius of the attacks in linf, in [0, 1] units.
        eps_l2: Radius of the attacks in l2, in [0, 1] units.
        steps: Steps of PGD.
        apgd_steps: Steps of APGD.
        patch: Side of the patch in pixels; None is about a seventh of the image's shorter side, in whole patch tokens
            if a model has them.
        positions: Places of the patch, cells of a grid of such squares drawn once for all images; None takes them all.
        patch_steps: Steps of the adversarial patch.
        patch_corruptions: Corruptions of one patch.
        patch_severity: Their severity, 1 to 5.
        temperatures: Temperatures of smoothed attention, above 1.
        seed: Seed of all draws.
    """

    rows: tuple[str, ...] = ()
    images: int = 200
    draws: int = 5
    rotation: float = 20.0
    shear: float = 0.2
    scale: float = 0.2
    shift: float = 1 / 7
    padding: Literal["reflection", "border", "zeros"] = "reflection"
    corruptions: tuple[str, ...] = ()
    severity: int = 3
    eps: float = 2 / 255
    eps_l2: float = 0.25
    steps: int = 20
    apgd_steps: int = 50
    patch: int | None = None
    positions: int | None = 6
    patch_steps: int = 30
    patch_corruptions: tuple[str, ...] = ("gaussian_noise", "defocus_blur", "fog", "pixelate")
    patch_severity: int = 5
    temperatures: tuple[float, ...] = (1.5, 2.0)
    seed: int = 0

    def __post_init__(self) -> None:
        known = [kind.name for kind in ROWS]
        for name in self.rows:
            if name not in known:
                raise InputError(f'no row "{name}"{nearest(name, known)}; the rows are: {", ".join(known)}')
        for name in ("images", "draws", "steps", "apgd_steps", "patch_steps"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("patch", "positions"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} must be at least 1, got {value}")
        for name in ("severity", "patch_severity"):
            if getattr(self, name) not in SEVERITIES:
                raise InputError(f"{name} must be a whole number from 1 to 5, got {getattr(self, name)!r}")
        for kind in (*self.corruptions, *self.patch_corruptions):
            if kind not in KINDS:
                raise InputError(f'no corruption "{kind}"{nearest(kind, KINDS)}; known: {", ".join(KINDS)}')
        if not self.patch_corruptions:
            raise InputError("patch_corruptions must name at least one corruption")
        check_ball("linf", self.eps)
        check_ball("l2", self.eps_l2)
        _ = self.affine  # checks itself
        for value in self.temperatures:
            if not (math.isfinite(value) and value > 1):
                raise InputError(f"temperatures must be above 1 (1 changes nothing), got {value}")

    @property
    def affine(self) -> AffineRange:
        """Ranges of the affine transforms."""
        return AffineRange(rotation=self.rotation, shear=self.shear, scale=self.scale, shift=self.shift)

    @property
    def chosen_corruptions(self) -> tuple[str, ...]:
        """Corruptions of whole images."""
        return self.corruptions or KINDS[:15]
