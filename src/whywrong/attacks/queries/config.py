"""Settings that all query attacks share."""

from __future__ import annotations

from dataclasses import dataclass

from whywrong.attacks.balls import BallNorm, check_ball
from whywrong.core.errors import InputError

_LEVEL = 1 / 255


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryConfig:
    """Settings shared by the query attacks, validated on construction.

    Attributes:
        norm: Norm of the ball, ``linf`` or ``l2``.
        eps: Radius of the ball in [0, 1] units, at least one grey level (1/255).
        queries: Budget of each image: changed images that may be asked, repeated questions included; 0 asks nothing.
        targeted: Whether the goal is the class ``y``; otherwise any other class.
        confirm: Times that an image which reaches the goal is asked again, each of which must reach it too. For
            classifiers whose answers are not repeatable.
        ask_again: Queries of an image after which a known image is asked again, to notice a model that has changed or
            is not repeatable; 0 never.
        seed: Seed of the random numbers, used if no keys are given.
    """

    norm: BallNorm = "linf"
    eps: float = 16 / 255
    queries: int = 1000
    targeted: bool = True
    confirm: int = 0
    ask_again: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        check_ball(self.norm, self.eps)
        if self.eps < _LEVEL * (1 - 1e-6):
            raise InputError(f"eps must be at least 1/255, one grey level, got {self.eps:g}")
        for name in ("queries", "confirm", "ask_again"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} must be at least 0, got {getattr(self, name)}")
