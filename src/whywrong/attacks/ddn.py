"""DDN: smallest l2 change by an ascent with decoupled direction and norm.

Source: Rony, Hafemann, Oliveira, Ben Ayed, Sabourin and Granger 2019, arXiv 1811.09600, algorithm 1.
Differences: iterates are rounded to grey levels on request only, and the last one is tested too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from whywrong.attacks.balls import norm_of, unit
from whywrong.attacks.state import AttackResult, AttackState
from whywrong.core.errors import InputError
from whywrong.core.randomness import keyed_normal
from whywrong.core.result import result_class
from whywrong.models.classifier import Classifier

_LAST_STEP = 0.01  # final step size; it falls from 1 along a half cosine


@dataclass(frozen=True, slots=True, kw_only=True)
class DDNConfig:
    """Settings of :func:`ddn`, validated on construction.

    Attributes:
        steps: Steps; at least 1.
        gamma: Share by which the norm shrinks after a step that fools and grows after one that does not, in (0, 1).
        init_norm: l2 norm of the first change, [0, 1] units.
        levels: Grey levels, 2 to 65536, to which every iterate is rounded, 256 in the paper; None for no rounding.
        seed: Seed of the directions of images without a gradient, used if no keys are given.
    """

    steps: int = 100
    gamma: float = 0.05
    init_norm: float = 1.0
    levels: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise InputError(f"steps must be at least 1, got {self.steps}")
        if not 0 < self.gamma < 1:
            raise InputError(f"gamma must be in (0, 1), got {self.gamma}")
        if not (self.init_norm > 0 and math.isfinite(self.init_norm)):
            raise InputError(f"init_norm must be positive and finite, got {self.init_norm}")
        if self.levels is not None and not 2 <= self.levels <= 65536:
            raise InputError(f"levels must be in 2..65536 or None, got {self.levels}")


@result_class
class DDNResult(AttackResult):
    """Result of :func:`ddn`, see :class:`AttackResult`.

    An image that was not fooled is returned unchanged.
    """


def ddn(
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    *,
    targets: Tensor | None = None,
    keys: Tensor | None = None,
    config: DDNConfig | None = None,
) -> DDNResult:
    """Find the smallest l2 change that is misclassified or reaches its target.

    Args:
        classifier: Maps images (B, C, H, W) in [0, 1] to logits (B, K); must grant gradients.
        x: Images, (B, C, H, W), floating point, in [0, 1]; not modified.
        y: True classes, (B,), int64, in 0..K-1.
        targets: Target classes, (B,), int64; None for any class but ``y``.
        keys: Seed of each image's noise, (B,), int64; default derived from ``config.seed`` and the row index. Used only
            if a gradient is zero.
        config: Settings; None uses the defaults of :class:`DDNConfig`.

    Returns:
        Changed images, whether they fool, and the passes: ``steps + 2`` forwards and ``steps`` backwards.

    Raises:
        InputError: A shape, type or class is invalid.
        AccessError: The classifier grants no gradients.
        NotDifferentiableError: No gradient reaches the pixels.
    """
    config = config or DDNConfig()
    with AttackState(classifier, x, y, targets=targets, keys=keys, seed=config.seed, loss="ce") as state:
        rows = state.begin()
        if len(rows):
            _shrink(state, rows, config)
        return state.result(DDNResult)


def _shrink(state: AttackState, rows: Tensor, config: DDNConfig) -> None:
    """Run algorithm 1 on the images of ``rows``."""
    x, keys = state.x[rows], state.keys[rows]
    furthest = norm_of(torch.maximum(x, 1 - x), "l2")
    radius = torch.full_like(furthest, config.init_norm)
    pixels = x
    for step in range(config.steps):
        logits, _, grad = state.ascend(rows, pixels)
        delta = pixels - x
        fooled = _keep(state, rows, pixels, logits, norm_of(delta, "l2"))
        direction = unit(grad)
        flat = (grad == 0).flatten(1).all(1)
        if bool(flat.any()):
            direction[flat] = unit(keyed_normal(keys[flat], x.shape[1:], draw=step))
        cosine = (1 + math.cos(math.pi * step / config.steps)) / 2
        delta = delta + (_LAST_STEP + (1 - _LAST_STEP) * cosine) * direction
        radius = torch.minimum(torch.where(fooled, 1 - config.gamma, 1 + config.gamma) * radius, furthest)
        pixels = (x + radius.view(-1, 1, 1, 1) * unit(delta)).clamp_(0, 1)
        if config.levels is not None:
            pixels = (pixels * (config.levels - 1)).round_() / (config.levels - 1)
    _keep(state, rows, pixels, state.logits(rows, pixels), norm_of(pixels - x, "l2"))


def _keep(state: AttackState, rows: Tensor, pixels: Tensor, logits: Tensor, norm: Tensor) -> Tensor:
    """Keep the smallest change that fools. Returns (n,) bool, whether these changes fool."""
    return state.keep(rows, pixels, logits, (-norm).where(state.reached(rows, logits), -torch.inf))
