"""Settings of the verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from whywrong.core.errors import InputError

VerdictDepth = Literal["free", "quick", "standard"]
DEPTHS: tuple[VerdictDepth, ...] = ("free", "quick", "standard")


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictConfig:
    """Settings of the verdict.

    Attributes:
        depth: ``free`` only reads stored results; ``quick`` measures each error until its cause is clear; ``standard``
            makes all measurements for every error.
        reference_images: Largest number of correct images for comparison; at most three per error are used.
        least_reference: Number of correct images that is used even for few errors, as far as available.
        controls: Largest number of further correct images, with the same margins as the errors, for the tests.
        no_reference: With fewer correct images than this, there is no comparison.
        sure: Calibrated probability at which ``quick`` stops measuring an error.
        sure_alone: Smallest probability of a stated cause without reference images.
        tested_causes: Largest number of tested causes per error.
        quick_passes: Largest mean number of passes per error at depth ``quick``.
        force: Continue even if nearly all images are misclassified.
        seed: Seed of all random choices.
    """

    depth: VerdictDepth = "quick"
    reference_images: int = 300
    least_reference: int = 100
    controls: int = 300
    no_reference: int = 50
    sure: float = 0.8
    sure_alone: float = 0.9
    tested_causes: int = 3
    quick_passes: int = 45
    force: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if self.depth not in DEPTHS:
            raise InputError(f"depth must be one of {', '.join(DEPTHS)}, got {self.depth!r}")
        if not 1 <= self.no_reference <= self.least_reference <= self.reference_images:
            raise InputError(
                "no_reference, least_reference and reference_images must be in this order and at least 1, got "
                f"{self.no_reference}, {self.least_reference} and {self.reference_images}"
            )
        for name in ("sure", "sure_alone"):
            if not 0 < getattr(self, name) <= 1:
                raise InputError(f"{name} must be in (0, 1], got {getattr(self, name)}")
        if self.controls < 0:
            raise InputError(f"controls must be at least 0, got {self.controls}")
        for name in ("tested_causes", "quick_passes"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
