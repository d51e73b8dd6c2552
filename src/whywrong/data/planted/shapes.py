"""Signed distances of simple shapes for a batch, negative inside, in units of the coordinates.

Coordinates ``u`` (to the right) and ``v`` (down) are (B, H, W); sizes are numbers or broadcast against them.
Source: Inigo Quilez, "2D distance functions", https://iquilezles.org/articles/distfunctions2d.
"""

from __future__ import annotations

import torch
from torch import Tensor

Size = Tensor | float


def circle(u: Tensor, v: Tensor, r: Size) -> Tensor:
    """Compute the distance to a disc of radius ``r`` around the origin."""
    return torch.sqrt(u * u + v * v) - r


def ellipse(u: Tensor, v: Tensor, a: Size, b: Size) -> Tensor:
    """Compute the distance to an ellipse of half axes ``a`` and ``b``.

    It is exact on the outline, first order elsewhere.
    """
    p, q = u / a, v / b
    k = torch.sqrt(p * p + q * q)
    slope = torch.sqrt((p / a).square() + (q / b).square()).clamp_min(1e-6)
    return k * (k - 1) / slope


def box(u: Tensor, v: Tensor, a: Size, b: Size, r: Size = 0.0) -> Tensor:
    """Compute the distance to a box of half sizes ``a`` and ``b``.

    Its corners are rounded by ``r``.
    """
    return _corner(u.abs() - a + r, v.abs() - b + r) - r


def taper(u: Tensor, v: Tensor, top: Size, bottom: Size, b: Size, r: Size = 0.0) -> Tensor:
    """Compute the distance to a symmetric trapezium.

    It has half height ``b`` and half widths ``top`` and ``bottom``.
    """
    along = ((v + b) / (2 * b)).clamp(0, 1)
    lean = torch.as_tensor((bottom - top) / (2 * b))
    side = (u.abs() - (top + (bottom - top) * along) + r) / torch.sqrt(1 + lean * lean)
    return _corner(side, v.abs() - b + r) - r


def segment(u: Tensor, v: Tensor, u0: Size, v0: Size, u1: Size, v1: Size, r: Size) -> Tensor:
    """Compute the distance to a line from (u0, v0) to (u1, v1) with round ends.

    It is ``r`` thick on either side.
    """
    du, dv = u1 - u0, v1 - v0
    along = (((u - u0) * du + (v - v0) * dv) / (du * du + dv * dv + 1e-9)).clamp(0, 1)
    return torch.sqrt((u - u0 - along * du).square() + (v - v0 - along * dv).square()) - r


def ring(distance: Tensor, r: Size) -> Tensor:
    """Compute the distance to the outline of a shape, ``r`` thick on either side."""
    return distance.abs() - r


def union(first: Tensor, *others: Tensor) -> Tensor:
    """Compute the union of shapes."""
    for other in others:
        first = torch.minimum(first, other)
    return first


def blend(a: Tensor, b: Tensor, k: Size) -> Tensor:
    """Compute the union of two shapes, with a seam rounded over a width ``k``."""
    h = (0.5 + 0.5 * (b - a) / k).clamp(0, 1)
    return b + (a - b) * h - k * h * (1 - h)


def both(a: Tensor, b: Tensor) -> Tensor:
    """Compute the intersection of two shapes.

    A condition ``x < c`` is given as ``x - c``.
    """
    return torch.maximum(a, b)


def cut(a: Tensor, b: Tensor) -> Tensor:
    """Subtract the second shape from the first."""
    return torch.maximum(a, -b)


def column(values: Tensor) -> Tensor:
    """Reshape values (B,), one per image, to (B, 1, 1)."""
    return values[:, None, None]


def _corner(p: Tensor, q: Tensor) -> Tensor:
    outside = torch.sqrt(p.clamp_min(0).square() + q.clamp_min(0).square())
    return outside + torch.maximum(p, q).clamp_max(0)
