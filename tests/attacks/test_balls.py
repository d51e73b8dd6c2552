"""Balls and the pixel range."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from whywrong.attacks.balls import Ball, unit
from whywrong.core.randomness import row_keys

NORMS = ("linf", "l2")


def images(seed: int) -> torch.Tensor:
    """Images with many pixels at a bound."""
    draw = torch.Generator().manual_seed(seed)
    return (1.4 * torch.rand((4, 3, 5, 6), generator=draw) - 0.2).clamp(0, 1)


def norm(delta: torch.Tensor, name: str) -> torch.Tensor:
    flat = delta.double().flatten(1)
    return flat.abs().amax(1) if name == "linf" else flat.norm(dim=1)


@pytest.mark.parametrize("name", NORMS)
@given(seed=st.integers(0, 10_000), eps=st.floats(1e-4, 1.0), reach=st.floats(0.0, 10.0))
@settings(max_examples=40, deadline=None)
def test_what_is_clipped_lies_in_ball_and_range_and_what_lies_there_is_not_moved(name, seed, eps, reach):
    x = images(seed)
    ball = Ball(x, eps, name)
    clipped = ball.clip(x + reach * torch.randn(x.shape, generator=torch.Generator().manual_seed(seed + 1)))
    assert float(norm(clipped - x, name).max()) <= eps + 1e-6
    assert float(clipped.min()) >= 0
    assert float(clipped.max()) <= 1
    torch.testing.assert_close(ball.clip(clipped.clone()), clipped, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", NORMS)
def test_random_points_lie_in_the_ball_and_fill_it(name):
    x = torch.full((500, 1, 1, 2), 0.5)
    delta = Ball(x, 0.3, name).random(row_keys(0, 500), draw=3) - x
    radius = norm(delta, name) / 0.3
    assert float(radius.max()) <= 1 + 1e-6
    assert float((radius**2).mean()) == pytest.approx(0.5, abs=0.05)  # uniform in a ball of two dimensions


def test_tiny_and_zero_gradients_keep_their_direction():
    grad = torch.tensor([1.0, -2.0, 2.0, 0.0]).view(1, 1, 2, 2)
    expected = grad / 3
    torch.testing.assert_close(unit(torch.cat([grad, 1e-30 * grad, 1e30 * grad])), expected.expand(3, -1, -1, -1))
    assert not unit(torch.zeros_like(grad)).any()
