"""Boxes and balls around an image, intersected with the pixel range."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from whywrong.core.config import check_radius
from whywrong.core.errors import InputError
from whywrong.core.randomness import keyed_normal, keyed_uniform

BallNorm = Literal["linf", "l2"]


@dataclass(frozen=True, slots=True, eq=False)
class Box:
    """Pixels within ``radius`` of the original and in [0, 1]."""

    x: Tensor
    radius: float

    def at(self, rows: Tensor) -> Box:
        """Select the box of some rows, by index or mask."""
        return Box(self.x[rows], self.radius)

    def room(self, pixels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Compute the lowest (<= 0) and highest (>= 0) allowed change of ``pixels``.

        Of the original if ``pixels`` is None.
        """
        centre = self.x if pixels is None else pixels
        if self.radius >= 1:
            return -centre, 1 - centre
        low = (self.x - self.radius).clamp_min_(0)
        high = (self.x + self.radius).clamp_max_(1)
        return (low - centre).clamp_max_(0), (high - centre).clamp_min_(0)

    def clip(self, pixels: Tensor) -> Tensor:
        """Clip ``pixels`` to the box in place."""
        if self.radius < 1:
            pixels = torch.maximum(torch.minimum(pixels, self.x + self.radius), self.x - self.radius)
        return pixels.clamp_(0, 1)


def norm_of(delta: Tensor, norm: str) -> Tensor:
    """Compute the norm (B,) of changes (B, C, H, W).

    l0 counts pixels that change in any channel.
    """
    if norm == "l0":
        return (delta != 0).any(1).flatten(1).sum(1).to(delta.dtype)
    flat = delta.flatten(1)
    if norm == "linf":
        return flat.abs().amax(1)
    if norm == "l1":
        return flat.abs().sum(1, dtype=torch.float64).to(delta.dtype)
    return flat.square().sum(1, dtype=torch.float64).sqrt().to(delta.dtype)


def unit(direction: Tensor) -> Tensor:
    """Scale each image of a direction (B, C, H, W) to l2 norm 1.

    A zero stays zero. Values are first divided by the largest, so that tiny gradients do not underflow.
    """
    largest = direction.flatten(1).abs().amax(1).view(-1, 1, 1, 1)
    scaled = direction / largest.where(largest > 0, 1.0)
    return scaled / norm_of(scaled, "l2").clamp_min(1e-12).view(-1, 1, 1, 1)


def check_ball(norm: str, eps: float) -> None:
    """Check that the norm is l2 or linf and that the radius is valid.

    Raises:
        InputError: Names the setting and its range.
    """
    if norm not in ("linf", "l2"):
        raise InputError(f"norm must be one of linf, l2, got {norm!r}")
    if norm == "linf":
        check_radius("eps", eps)
    elif not (eps > 0 and math.isfinite(eps)):
        raise InputError(f"eps must be positive and finite (l2 norm of a change of pixels in [0, 1]), got {eps}")


@dataclass(frozen=True, slots=True, eq=False)
class Ball:
    """Images within ``eps`` of ``x`` (B, C, H, W) in ``norm``, and in [0, 1]."""

    x: Tensor
    eps: float
    norm: BallNorm

    def at(self, rows: Tensor) -> Ball:
        """Select the balls of some rows, by index or mask."""
        return Ball(self.x[rows], self.eps, self.norm)

    def clip(self, pixels: Tensor) -> Tensor:
        """Clip ``pixels`` to ball and pixel range, possibly in place.

        In l2, first scale toward ``x``, then clip to the range, which only moves pixels closer to ``x``.
        """
        if self.norm == "linf":
            return Box(self.x, self.eps).clip(pixels)
        delta = pixels - self.x
        shrink = self.eps / norm_of(delta, "l2").clamp_min(self.eps)
        return (self.x + delta * shrink.view(-1, 1, 1, 1)).clamp_(0, 1)

    def random(self, keys: Tensor, draw: int) -> Tensor:
        """Draw images (B, C, H, W) uniformly in the ball, clipped to the pixel range.

        ``keys`` (B,) seed each image.
        """
        shape = self.x.shape[1:]
        if self.norm == "linf":
            return self.clip(self.x + self.eps * (2 * keyed_uniform(keys, shape, 2 * draw) - 1))
        share = keyed_uniform(keys, (1, 1, 1), 2 * draw + 1) ** (1 / math.prod(shape))
        return self.clip(self.x + self.eps * share * unit(keyed_normal(keys, shape, 2 * draw)))

    def ascent(self, grad: Tensor) -> Tensor:
        """Return the change (B, C, H, W) of norm 1 and steepest ascent."""
        return grad.sign() if self.norm == "linf" else unit(grad)
