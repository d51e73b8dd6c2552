"""Directions from a surrogate toward the true class: MI-FGSM, computed without asking the black box.

Source: Dong et al. 2018, arXiv 1710.06081 (momentum); Xie et al. 2019, arXiv 1803.06978 (input diversity); Dong et al.
2019, arXiv 1904.02884 (smoothed gradient). Computing the direction in advance and asking the black box about its length
only is ours, docs/methods/black_box.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from whywrong.attacks.objectives import attack_loss
from whywrong.attacks.surrogates.correction import Correction
from whywrong.core.config import check_radius
from whywrong.core.errors import InputError
from whywrong.core.randomness import keyed_uniform
from whywrong.data.corruptions.filters import gaussian_matrix
from whywrong.models.classifier import Classifier

LARGE = 64  # pixels a side from which diversity and smoothing are used
_DIVERSE = 0.7  # share of the steps in which an image is resized
_LEAST_SIZE = 0.85  # smallest size, as a share
_SMOOTH = 1 / 64  # standard deviation of the smoothing, as a share of the side


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectionConfig:
    """Settings of :func:`directions`, validated on construction.

    Attributes:
        steps: Steps on the surrogate; at least 1.
        step_size: Change of each pixel in a step, [0, 1] units.
        momentum: Share of the earlier gradients that is kept; 1 accumulates them.
        diverse: Resize inputs and smooth gradients of images of 64 pixels a side or more.
    """

    steps: int = 10
    step_size: float = 2 / 255
    momentum: float = 1.0
    diverse: bool = True

    def __post_init__(self) -> None:
        check_radius("step_size", self.step_size)
        if not 1 <= self.steps <= 1000:
            raise InputError(f"steps must be in 1..1000, got {self.steps}")
        if not 0 <= self.momentum <= 1:
            raise InputError(f"momentum must be in [0, 1], got {self.momentum}")


def directions(
    models: Sequence[Classifier],
    x: Tensor,
    y: Tensor,
    keys: Tensor,
    corrections: Sequence[Correction] | None,
    config: DirectionConfig,
) -> Tensor:
    """Compute the direction toward ``y`` for each image, from the average log-probability of the surrogates.

    Args:
        models: Surrogates; they grant gradients. The classifiers must be entered (``with``) for many calls.
        x: Images, (B, C, H, W), float32, in [0, 1].
        y: Classes, (B,), int64.
        keys: Seed of each image's resizing, (B,), int64.
        corrections: Correction of each surrogate; None for none.
        config: Settings.

    Returns:
        (B, C, H, W); its largest entry is 1, or all are zero if no gradient was found. One forward and one backward
        pass a step and surrogate.
    """
    large = config.diverse and min(x.shape[2:]) >= LARGE
    pixels, memory = x.clone(), torch.zeros_like(x)
    for step in range(config.steps):
        total = torch.zeros_like(x)
        for index, model in enumerate(models):
            correction = None if corrections is None else corrections[index]
            grad = _gradient(model, pixels, y, correction, keys if large else None, step)
            total += grad / _size(grad)
        if large:
            total = smoothed(total)
        memory = config.momentum * memory + total / _size(total)
        pixels = (pixels + config.step_size * memory.sign()).clamp(0, 1)
    change = pixels - x
    return change / change.flatten(1).abs().amax(1).clamp_min(1e-12).view(-1, 1, 1, 1)


def _size(grad: Tensor) -> Tensor:
    """Return the mean absolute value of each gradient, (B, 1, 1, 1), 1 for a zero gradient."""
    size = grad.flatten(1).abs().mean(1).view(-1, 1, 1, 1)
    return size.where(size > 0, 1.0)


def _gradient(
    model: Classifier, pixels: Tensor, y: Tensor, correction: Correction | None, keys: Tensor | None, step: int
) -> Tensor:
    """Compute the gradient (B, C, H, W) of the log-probability of ``y``, through a random resize if keys are given."""

    def objective(logits: Tensor, rows: slice) -> Tensor:
        scores = logits.log_softmax(1)
        if correction is not None:
            scores = correction.apply(scores, rows)
        return attack_loss("ce", scores, y[rows].to(logits.device, copy=True), targeted=True)

    if keys is None:
        return torch.nan_to_num(model.gradient(pixels, objective)[2], 0.0, 0.0, 0.0)
    with torch.enable_grad():
        start = pixels.detach().clone().requires_grad_()
        seen = resized(start, keys, step)
    grad = torch.nan_to_num(model.gradient(seen.detach().clamp(0, 1), objective)[2], 0.0, 0.0, 0.0)
    return torch.autograd.grad(seen, start, grad)[0]


def resized(x: Tensor, keys: Tensor, draw: int) -> Tensor:
    """Shrink some images by up to 15 % and place them at random on black; differentiable.

    Args:
        x: (B, C, H, W).
        keys: (B,), int64, seed of each image.
        draw: Number of the draw.
    """
    chosen, size, across, down = keyed_uniform(keys, (4,), draw).unbind(1)
    share = torch.where(chosen < _DIVERSE, _LEAST_SIZE + (1 - _LEAST_SIZE) * size, 1.0)
    zoom, room = 1 / share, (1 - share) / share
    zero = torch.zeros_like(zoom)
    rows = [torch.stack([zoom, zero, room * (2 * across - 1)], 1), torch.stack([zero, zoom, room * (2 * down - 1)], 1)]
    grid = affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
    return grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def smoothed(grad: Tensor) -> Tensor:
    """Smooth gradients (B, C, H, W) by a Gaussian of a 64th of the side."""
    height, width = grad.shape[2:]
    down, across = (gaussian_matrix(side, _SMOOTH * side, 3.0, grad.device).to(grad) for side in (height, width))
    return down @ grad @ across.T
