"""Norms and projections against closed forms, a solver by bisection, and the definition of a projection."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from whywrong.attacks.minimal.geometry import NORMS, Geometry


def changes(n: int = 6, seed: int = 0) -> Tensor:
    return torch.randn((n, 3, 4, 4), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def made(norm: str, n: int = 6) -> Geometry:
    if norm != "groups":
        return Geometry(norm)  # type: ignore[arg-type]
    blocks = torch.arange(4).repeat_interleave(4).view(1, 4, 4)  # rows of the image
    return Geometry("groups", blocks.expand(n, 4, 4).contiguous(), 4)


@pytest.mark.parametrize("norm", NORMS)
def test_a_change_inside_the_ball_stays_as_it_is(norm):
    delta, geometry = changes(), made(norm)
    inside = geometry.project(delta, geometry.size(delta) * 1.5)
    torch.testing.assert_close(inside, delta, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9])
def test_a_change_outside_ends_on_the_sphere(norm, share):
    delta, geometry = changes(), made(norm)
    radius = (geometry.size(delta) * share).floor() if norm == "l0" else geometry.size(delta) * share
    found = geometry.project(delta, radius)
    torch.testing.assert_close(geometry.size(found), radius, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("norm", ["l1", "l2", "linf", "groups"])
def test_no_point_of_the_ball_is_nearer_than_the_projection(norm):
    """A projection p of d onto a convex set has (d - p) . (z - p) <= 0 for every z of the set."""
    delta, geometry = changes(), made(norm)
    radius = 0.4 * geometry.size(delta)
    found = geometry.project(delta, radius)
    for seed in range(1, 40):
        other = changes(seed=seed)
        other = other * (radius / geometry.size(other)).view(-1, 1, 1, 1)
        assert (((delta - found) * (other - found)).flatten(1).sum(1) <= 1e-5).all()
    steepest = geometry.slope(delta - found) * radius  # the largest product with a point of the ball
    assert (((delta - found) * found).flatten(1).sum(1) >= steepest * (1 - 1e-5)).all()


def test_the_l1_projection_is_that_of_a_bisection():
    delta, radius = changes(), torch.tensor([0.1, 1.0, 3.0, 10.0, 20.0, 1e3], dtype=torch.float64)
    found = Geometry("l1").project(delta, radius)
    for row, change in enumerate(delta):
        low, high = 0.0, float(change.abs().max())
        for _ in range(100):
            middle = (low + high) / 2
            low, high = (middle, high) if (change.abs() - middle).clamp_min(0).sum() > radius[row] else (low, middle)
        expected = change.sign() * (change.abs() - high).clamp_min(0)
        torch.testing.assert_close(found[row], expected, rtol=1e-6, atol=1e-6)


def test_l0_keeps_the_pixels_with_the_largest_change_over_channels():
    delta = torch.zeros(1, 3, 2, 2)
    delta[0, :, 0, 0] = torch.tensor([0.5, 0.0, 0.0])
    delta[0, :, 1, 1] = 0.4  # longer in l2 than the first
    delta[0, 0, 0, 1] = 0.1
    found = Geometry("l0").project(delta, torch.tensor([1.9]))
    assert found[0, :, 1, 1].tolist() == pytest.approx([0.4, 0.4, 0.4])
    assert int((found != 0).sum()) == 3


@pytest.mark.parametrize("norm", ["l1", "l2", "linf", "groups"])
def test_slope_is_the_steepest_ascent_per_unit_of_the_norm(norm):
    grad, geometry = changes(), made(norm)
    slope = geometry.slope(grad)
    best = torch.full_like(slope, -torch.inf)
    for seed in range(1, 40):
        other = changes(seed=seed)
        best = torch.maximum(best, (other * grad).flatten(1).sum(1) / geometry.size(other))
    assert (best <= slope).all()
    reached = geometry.project(grad * 1e6, torch.ones(6, dtype=torch.float64))  # the vertex or face along the gradient
    torch.testing.assert_close((reached * grad).flatten(1).sum(1), slope, rtol=1e-4, atol=1e-4)
