"""Domain of a counterfactual, an l_p ball around the image intersected with the pixel range and a region."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from whywrong.explain.counterfactuals.solvers.lmo import fill, linear_minimization_oracle, lp_norm


@dataclass(frozen=True, slots=True, eq=False)
class Domain:
    """Images within ``eps`` of ``x`` in the l_p norm over C*H*W, in [0, 1], changed only inside a region.

    Attributes:
        x: (B, C, H, W), float32, in [0, 1].
        up: (B, C, H, W), how far each pixel may rise: 1 - x, 0 outside the region.
        down: (B, C, H, W), how far it may fall: x, 0 outside the region.
        eps: (B,), float64, radii, positive.
        p: Exponent, in [1, inf].
    """

    x: Tensor
    up: Tensor
    down: Tensor
    eps: Tensor
    p: float

    @staticmethod
    def around(x: Tensor, eps: Tensor, p: float, mask: Tensor | None = None) -> Domain:
        """Build the domain of ``x``.

        ``mask`` (B, 1, H, W) or (B, C, H, W) bool is the region, None the whole image.
        """
        up, down = 1 - x, x
        if mask is not None:
            up, down = up * mask, down * mask
        return Domain(x, up, down, eps.double(), p)

    def at(self, rows: Tensor) -> Domain:
        """Return the domains of some rows, by index or by mask."""
        return Domain(self.x[rows], self.up[rows], self.down[rows], self.eps[rows], self.p)

    def resized(self, eps: Tensor) -> Domain:
        """Return the domain with other radii (B,)."""
        return Domain(self.x, self.up, self.down, eps.double(), self.p)

    def best(self, slope: Tensor) -> tuple[Tensor, Tensor]:
        """Find the point (B, C, H, W) that maximises <slope, z>.

        Also returns whether the row had a usable slope, (B,) bool.
        """
        change, usable = linear_minimization_oracle(
            slope.flatten(1), self.up.flatten(1), self.down.flatten(1), self.eps, self.p
        )
        return change.view_as(self.x).add_(self.x).clamp_(0, 1), usable

    def filled(self, z: Tensor) -> Tensor:
        """Push ``z`` away from ``x`` onto the surface of the ball.

        The result stays in the pixel range.
        """
        delta = z - self.x
        room = torch.where(delta > 0, self.up, self.down)
        size = fill(delta.abs().flatten(1), room.flatten(1), self.eps, self.p).view_as(delta)
        return size.copysign_(delta).add_(self.x).clamp_(0, 1)

    def shrunk(self, z: Tensor) -> Tensor:
        """Pull ``z`` straight toward ``x`` into the ball."""
        delta = z - self.x
        factor = (self.eps / self.norm(z).clamp_min(1e-300)).clamp_max(1)
        return delta.mul_(factor.to(delta.dtype).view(-1, 1, 1, 1)).add_(self.x).clamp_(0, 1)

    def norm(self, z: Tensor) -> Tensor:
        """Compute the l_p norm of ``z - x``, (B,) float64."""
        return lp_norm((z - self.x).flatten(1), self.p)
