"""Balls and the pixel range."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from whywrong.attacks.balls import Ball, check_ball, norm_of, unit
from whywrong.core.errors import InputError
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


@pytest.mark.parametrize("shape", [(1, 1, 2), (3, 2, 2), (2, 3, 1)])
def test_random_points_of_an_l2_ball_are_uniform(shape):
    """Radius to the power of the dimension is uniform; directions are, too, and know nothing of the radius."""
    size = math.prod(shape)
    x = torch.full((4000, *shape), 0.5)
    delta = (Ball(x, 0.3, "l2").random(row_keys(1, 4000), draw=5) - x).flatten(1).double() / 0.3
    radius = delta.norm(dim=1)
    assert stats.kstest((radius**size).numpy(), "uniform").pvalue > 0.01
    along = delta / radius[:, None]
    # A coordinate of a uniform direction squared follows beta(1/2, (D - 1)/2).
    for axis in (0, size - 1):
        squared = along[:, axis].square().numpy()
        assert stats.kstest(squared, stats.beta(0.5, (size - 1) / 2).cdf).pvalue > 0.01
        assert abs(float(along[:, axis].sign().mean())) < 0.06
        assert abs(stats.spearmanr(squared, radius.numpy()).statistic) < 0.06


def test_random_points_of_an_linf_ball_are_uniform_and_another_draw_gives_others():
    x = torch.full((2000, 1, 1, 2), 0.5)
    ball = Ball(x, 0.3, "linf")
    delta = (ball.random(row_keys(0, 2000), draw=5) - x).flatten(1).double() / 0.3
    assert stats.kstest(delta[:, 0].numpy(), stats.uniform(-1, 2).cdf).pvalue > 0.01
    assert not torch.equal(ball.random(row_keys(1, 2000), 5), ball.random(row_keys(1, 2000), 6))


def test_tiny_and_zero_gradients_keep_their_direction():
    grad = torch.tensor([1.0, -2.0, 2.0, 0.0]).view(1, 1, 2, 2)
    expected = grad / 3
    torch.testing.assert_close(unit(torch.cat([grad, 1e-30 * grad, 1e30 * grad])), expected.expand(3, -1, -1, -1))
    assert not unit(torch.zeros_like(grad)).any()


def test_norms_are_those_of_their_definitions_and_l0_counts_a_pixel_once():
    delta = torch.zeros(1, 3, 4, 5)
    delta[0, 0, 1, 2], delta[0, 2, 1, 2], delta[0, 1, 3, 4] = 3.0, -4.0, 12.0
    assert norm_of(delta, "l0").tolist() == [2.0]
    assert norm_of(delta, "l1").tolist() == [19.0]
    assert norm_of(delta, "l2").tolist() == [13.0]
    assert norm_of(delta, "linf").tolist() == [12.0]


@pytest.mark.parametrize("eps", [0.0, -0.1, math.inf, math.nan])
@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_a_radius_that_is_not_positive_and_finite_is_refused(norm, eps):
    with pytest.raises(InputError, match="eps must be"):
        check_ball(norm, eps)


def test_an_l2_radius_may_exceed_one_and_an_linf_radius_may_not():
    check_ball("l2", 1.5)
    with pytest.raises(InputError, match="eps must be"):
        check_ball("linf", 1.5)
