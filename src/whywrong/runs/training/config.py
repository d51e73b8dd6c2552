"""Settings of training."""

from __future__ import annotations

import math
from dataclasses import dataclass

from whywrong.core.errors import InputError


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """Settings of training; two trainings with equal settings and images give equal networks.

    Attributes:
        epochs: Passes over the training images.
        batch: Images per step, at least 2. A last, incomplete batch of an epoch is left out.
        rate: Highest learning rate of AdamW; it rises for a twentieth of the steps, then falls to 0 as a cosine.
        decay: Weight decay.
        shift: Most pixels by which an image is moved up, down, left or right; None for a sixteenth of the shorter side.
        flip: Whether half of the images are mirrored.
        held_out: Share of the images of each class that is held out to measure the accuracy, 0 to 0.5.
        seed: Seed of weights, order, augmentation and of the images held out.

    Raises:
        InputError: A setting is out of range.
    """

    epochs: int = 10
    batch: int = 128
    rate: float = 2e-3
    decay: float = 0.02
    shift: int | None = None
    flip: bool = False
    held_out: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch", 2), ("shift", 0), ("seed", 0)):
            value = getattr(self, name)
            if not (name == "shift" and value is None) and (type(value) is not int or value < least):
                raise InputError(f"{name} must be a whole number of at least {least}, got {value!r}")
        for name, most in (("rate", 10.0), ("decay", 10.0), ("held_out", 0.5)):
            value = getattr(self, name)
            number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
            if not number or not 0 <= value <= most:
                raise InputError(f"{name} must be a number from 0 to {most:g}, got {value!r}")
        if self.rate == 0:
            raise InputError("rate must be above 0, or nothing is learnt")
        if type(self.flip) is not bool:
            raise InputError(f"flip must be true or false, got {self.flip!r}")
