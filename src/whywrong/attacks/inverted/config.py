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
    """Settings of :func:`whywrong.attacks.inverted.invert`, checked once, when built.

    Attributes:
        attack: ``newton`` is newton-then-shrink, the default; ``sign`` the iterative sign attack A1 and
            ``one_gradient`` the growing one-gradient step A2, which are kept for reproduction and do not shrink.
        norm: Norm whose first-order minimiser ``newton`` steps along and in which it shrinks.
        overshoot: How far beyond the linearised boundary the first candidate goes; 0.5 is half as far again.
        rivals: Classes that one Newton step keeps out at once, 1 to 5; more than one makes the step polyhedral (l2
            only) and costs one backward pass a rival.
        rounds: Most Newton candidates an image; then the sign attack takes over.
        fallback_step: Step of that sign attack, [0, 1] units.
        steps: Most candidates of the sign attacks, also as fallback.
        step_size: Step of ``sign`` and ``one_gradient``, [0, 1] units.
        budget: Most candidates an image in all; None leaves it to ``rounds`` and ``steps``. 0 sends none.
        radius: Largest change of any pixel, [0, 1] units; 1 leaves the pixel range as the only bound.
        safety: How far beyond a tie an image must be to count as right, as a share of the scale of its logits.
        bisections: Halvings of the way from the image to its first fix; 0 to leave the fix as found.
        polish_l2: Most refinements of the l2 fix after that, one forward and one backward pass each.
        polish_linf: The same for the linf distance.
        quantise: Also make a fix of whole grey levels.
        seed: Seeds the noise of the audit where the caller names no keys.
    """

    attack: Attack = "newton"
    norm: Norm = "l2"
    overshoot: float = 0.5
    rivals: int = 1
    rounds: int = 20
    fallback_step: float = 2 / 255
    steps: int = 50
    step_size: float = 1 / 255
    budget: int | None = None
    radius: float = 1.0
    safety: float = 2e-6
    bisections: int = 8
    polish_l2: int = 10
    polish_linf: int = 5
    quantise: bool = True
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
        for name, least in (("rounds", 0), ("steps", 0), ("bisections", 0), ("polish_l2", 0), ("polish_linf", 0)):
            if getattr(self, name) < least:
                raise InputError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.budget is not None and self.budget < 0:
            raise InputError(f"budget must be at least 0, got {self.budget}")
        if not 1 <= self.rivals <= 5:
            raise InputError(f"rivals must be in 1..5, got {self.rivals}")
        if self.rivals > 1 and self.norm != "l2":
            raise InputError(f"more than one rival needs norm l2, got norm {self.norm}")
