"""Settings of the minimal-norm attacks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from whywrong.attacks.minimal.geometry import NORMS, MinimalNorm
from whywrong.core.errors import InputError

Solver = Literal["auto", "newton", "fmn", "superdeepfool", "sigma_zero"]
SOLVERS: dict[Solver, tuple[MinimalNorm, ...]] = {
    "auto": NORMS,
    "newton": ("l2", "linf"),
    "fmn": NORMS,
    "superdeepfool": ("l2",),
    "sigma_zero": ("l0",),
}
LEAST = 4  # passes that linearise the image and one candidate


@dataclass(frozen=True, slots=True, kw_only=True)
class SmallestFixConfig:
    """Settings of :func:`whywrong.smallest_fix`, validated on construction.

    Attributes:
        norm: Norm to minimise. ``l2`` and ``linf`` spread the change, ``l1`` and ``l0`` concentrate it in few pixels
            (l0 counts pixels that change in any channel), and ``groups`` in few superpixels (sum of their l2 norms).
        solver: ``fmn`` (any norm), ``newton`` (refinements along the boundary; l2, linf), ``superdeepfool`` (l2) or
            ``sigma_zero`` (l0, for budgets of hundreds of passes); ``auto`` chooses by norm and budget.
        budget: Most forward plus backward passes per image of the search, at least 4. Testing the fix again and
            rounding it to grey levels come on top, most often 2 passes.
        safety: Margin by which an image must be correctly classified, as a share of the scale of its logits.
        quantise: Also make a fix of whole grey levels.
        segments: Number of superpixels of a large image, for ``groups``; small images get fewer.
        seed: Seed of the directions used if the gradient is zero, used if no keys are given.

    Example:
        >>> import whywrong as ww
        >>> ww.SmallestFixConfig(norm="l1").budget
        60
    """

    norm: MinimalNorm = "l2"
    solver: Solver = "auto"
    budget: int = 60
    safety: float = 1e-5
    quantise: bool = True
    segments: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        if self.norm not in NORMS:
            raise InputError(f"norm must be one of {', '.join(NORMS)}, got {self.norm!r}")
        if self.solver not in SOLVERS:
            raise InputError(f"solver must be one of {', '.join(SOLVERS)}, got {self.solver!r}")
        if self.norm not in SOLVERS[self.solver]:
            able = ", ".join(name for name, norms in SOLVERS.items() if self.norm in norms)
            raise InputError(f"solver {self.solver!r} does not minimise {self.norm}; solvers that do: {able}")
        if self.budget < LEAST:
            raise InputError(f"budget must be at least {LEAST} passes, got {self.budget}")
        for name, low, high in (("safety", 1e-6, 0.01), ("segments", 1, 10_000)):
            if not low <= getattr(self, name) <= high:
                raise InputError(f"{name} must be in [{low:g}, {high:g}], got {getattr(self, name)}")
