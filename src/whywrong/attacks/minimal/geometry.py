"""Norms of changes, their dual norms, and projections onto their balls, each image with its own radius.

The l2 projection multiplies by min(1, radius / ||delta||), so that a change inside the ball stays as it is.

Source: ball of l1, Duchi, Shalev-Shwartz, Singer and Chandra 2008, ICML, figure 1 (by sorting); that of the group norm
applies it to the norms of the groups (van den Berg and Friedlander 2011, section 4.1); the others are elementary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from whywrong.attacks.balls import norm_of
from whywrong.attacks.inverted.segments import paint, segment_sums

MinimalNorm = Literal["l2", "linf", "l1", "l0", "groups"]
NORMS: tuple[MinimalNorm, ...] = ("l2", "linf", "l1", "l0", "groups")

_DUAL = {"l2": "l2", "linf": "l1", "l1": "linf"}


@dataclass(frozen=True, slots=True, eq=False)
class Geometry:
    """A norm of changes.

    Attributes:
        norm: ``l0`` counts pixels that change in any channel; ``groups`` is the sum over superpixels of the l2 norm.
        segments: (n, H, W), int64, superpixels of each image, for ``groups``.
        count: Number of superpixels, at least that of every image.
    """

    norm: MinimalNorm
    segments: Tensor | None = None
    count: int = 0

    def at(self, rows: Tensor) -> Geometry:
        """Select some of the images."""
        return self if self.segments is None else Geometry(self.norm, self.segments[rows], self.count)

    def size(self, delta: Tensor) -> Tensor:
        """Compute the norm (n,) of changes (n, C, H, W)."""
        return self._groups(delta).sum(1) if self.norm == "groups" else norm_of(delta, self.norm)

    def slope(self, grad: Tensor) -> Tensor:
        """Compute the dual norm (n,) of gradients (n, C, H, W).

        It is the steepest ascent per unit of the norm; for l0, that of l2.
        """
        return self._groups(grad).amax(1) if self.norm == "groups" else norm_of(grad, _DUAL.get(self.norm, "l2"))

    def project(self, delta: Tensor, radius: Tensor) -> Tensor:
        """Project changes onto the ball of the norm.

        Args:
            delta: (n, C, H, W).
            radius: (n,), radius of each image's ball.

        Returns:
            The changes of norm at most ``radius`` that are nearest to ``delta`` in l2.
        """
        if self.norm == "l2":
            shrink = radius / torch.maximum(norm_of(delta, "l2"), radius).clamp_min(torch.finfo(delta.dtype).tiny)
            return delta * _column(shrink)
        if self.norm == "linf":
            most = _column(radius)
            return torch.maximum(torch.minimum(delta, most), -most)
        if self.norm == "l1":
            size = delta.abs()
            return torch.copysign((size - _column(_excess(size.flatten(1), radius))).clamp_min_(0), delta)
        if self.norm == "l0":
            return _largest_pixels(delta, radius)
        sizes = self._groups(delta)
        kept = (sizes - _excess(sizes, radius)[:, None]).clamp_min_(0)
        share = kept / sizes.clamp_min(torch.finfo(delta.dtype).tiny)
        assert self.segments is not None
        return delta * paint(share, self.segments)[:, None]

    def _groups(self, delta: Tensor) -> Tensor:
        """Compute the l2 norm (n, count) inside each superpixel."""
        assert self.segments is not None
        return segment_sums(delta.square().sum(1), self.segments, self.count).sqrt_()


def _largest_pixels(delta: Tensor, number: Tensor) -> Tensor:
    """Keep the pixels with the largest l2 norm over channels; the first ones among equals."""
    energy = delta.square().sum(1).flatten(1)
    order = energy.argsort(dim=1, descending=True, stable=True)
    first = torch.arange(energy.shape[1], device=delta.device) < number.floor()[:, None]
    kept = torch.zeros_like(first).scatter_(1, order, first)
    return delta * kept.view(len(delta), 1, *delta.shape[2:])


def _excess(size: Tensor, radius: Tensor) -> Tensor:
    """Find the smallest t >= 0 (n,) with sum(max(size - t, 0)) <= radius, for sizes (n, D) >= 0."""
    ordered = size.sort(dim=1, descending=True).values.double()
    beyond = ordered.cumsum(1) - radius.double()[:, None]
    count = torch.arange(1, size.shape[1] + 1, device=size.device, dtype=torch.float64)
    last = (ordered * count > beyond).sum(1, keepdim=True).clamp_min(1)  # sizes that stay above t
    return (beyond.gather(1, last - 1) / last)[:, 0].clamp_min(0).to(size.dtype)


def _column(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)
