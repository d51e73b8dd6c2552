"""Settings of the repair."""

from __future__ import annotations

import math
from dataclasses import dataclass

from whywrong.core.errors import InputError

REPLAY, ERRORS, FIXES, REGIONS, RELABELLED, PREDICTED = (
    "replay",
    "errors",
    "fixes",
    "regions",
    "relabelled",
    "as predicted",
)
ARMS: tuple[str, ...] = (REPLAY, ERRORS, FIXES, REGIONS, RELABELLED, PREDICTED)
"""All arms: what the model is trained on beside images that it classifies correctly."""

CONTROLS: tuple[str, ...] = (REPLAY, PREDICTED)
"""Arms without anything to learn from the errors. An arm must correct more than each of them."""

WORDS = {
    REPLAY: "Correct images only",
    ERRORS: "Errors with their labels",
    FIXES: "Smallest fixes of the errors, with their labels",
    REGIONS: "Errors, and misleading regions pasted into other images that keep their label",
    RELABELLED: "Errors, suspect labels replaced by the prediction",
    PREDICTED: "Errors with their wrong predictions as labels",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RepairConfig:
    """Settings of the repair.

    Attributes:
        train: Whether copies of the model are fine-tuned; otherwise only the lists of work are made.
        arms: Arms to train, of :data:`ARMS`.
        steps: Training steps of each arm.
        batch: Images of a step.
        replay: Share of a batch that are correct images, which keep what the model knows.
        rate: Highest learning rate of AdamW, which falls linearly to zero.
        pull: Weight of the divergence from the predictions of the model as it was, on correct images.
        most_images: Correct images that are trained on, at most.
        fewest: Errors that the fitting half must hold.
        seed: Seed of the halves and of every draw.
    """

    train: bool = True
    arms: tuple[str, ...] = ARMS
    steps: int = 200
    batch: int = 32
    replay: float = 0.75
    rate: float = 3e-4
    pull: float = 1.0
    most_images: int = 2000
    fewest: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        if unknown := [arm for arm in self.arms if arm not in ARMS]:
            raise InputError(f"arms must be of {', '.join(ARMS)}, got {unknown[0]!r}")
        for name, least in (("steps", 1), ("batch", 4), ("most_images", 1), ("fewest", 2)):
            if getattr(self, name) < least:
                raise InputError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if not 0 < self.replay < 1:
            raise InputError(f"replay must be between 0 and 1, got {self.replay}")
        if not 0 < self.rate < math.inf:
            raise InputError(f"rate must be positive and finite, got {self.rate}")
        if not 0 <= self.pull < math.inf:
            raise InputError(f"pull must be at least 0 and finite, got {self.pull}")
