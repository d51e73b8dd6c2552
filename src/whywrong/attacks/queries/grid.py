"""Balls of images of whole grey levels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from whywrong.attacks.balls import BallNorm, norm_of

_WHOLE = 1e-3  # grey levels by which a radius may miss a whole number through float32
_SHRINK = (1.0, 0.99, 0.97, 0.94, 0.9, 0.8, 0.6)  # of an l2 change whose rounded version is too long


def on_grid(x: Tensor) -> Tensor:
    """Round pixels in [0, 1] to whole grey levels, as multiples of 1/255."""
    return (x * 255).round().clamp(0, 255) / 255


@dataclass(frozen=True, slots=True, eq=False)
class GreyBall:
    """Images of whole grey levels within ``eps`` of ``x`` (B, C, H, W), which has whole grey levels."""

    x: Tensor
    eps: float
    norm: BallNorm

    def at(self, rows: Tensor) -> GreyBall:
        """Select the balls of some rows, by index or mask."""
        return GreyBall(self.x[rows], self.eps, self.norm)

    def nearest(self, pixels: Tensor) -> Tensor:
        """Return an image (B, C, H, W) of the ball near ``pixels``.

        In linf it is the nearest one. In l2 the change is rounded, and first shortened if rounding makes it too long.
        """
        levels = (self.x * 255).round()
        change = pixels * 255 - levels
        if self.norm == "linf":
            most = int(self.eps * 255 + _WHOLE)
            return _image(levels, change.round().clamp(-most, most))
        radius = self.eps * 255 * (1 + 1e-6)
        change = change * (radius / norm_of(change, "l2").clamp_min(radius)).view(-1, 1, 1, 1)
        found = change.trunc()
        found.masked_fill_(norm_of(found, "l2").view(-1, 1, 1, 1) > radius, 0)
        for share in reversed(_SHRINK):
            tried = (share * change).round()
            fits = norm_of(tried, "l2") <= radius
            found = torch.where(fits.view(-1, 1, 1, 1), tried, found)
        return _image(levels, found)


def _image(levels: Tensor, change: Tensor) -> Tensor:
    return (levels + change).clamp_(0, 255) / 255
