"""The oracle against a bisection written plainly, and its properties."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from whywrong.core.randomness import keyed_normal, keyed_uniform, row_keys
from whywrong.explain.counterfactuals.solvers import lmo
from whywrong.explain.counterfactuals.solvers.lmo import fill, linear_minimization_oracle, lp_norm

EXPONENTS = (1, 1.05, 1.1, 1.2, 1.5, 1.8, 2, 3, 10, math.inf)


def instance(seed: int, d: int, p: float, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """Slopes over three decades with zeros among them, pixels with zeros and ones among them, a radius."""
    keys = row_keys(seed, 1)
    chance = keyed_uniform(keys, (4, d))[0].double()
    x = chance[0].clone()
    x[chance[1] < 0.2], x[chance[1] > 0.9] = 0.0, 1.0
    w = keyed_normal(keys, (d,), 1)[0].double() * 10 ** (3 * chance[2])
    w[chance[3] < 0.1] = 0.0
    share = 0.025 + 0.575 * float(keyed_uniform(keys, (1,), 2))
    eps = share * (1 if p == math.inf else d ** (1 / p))
    return w[None].to(dtype), x[None].to(dtype), torch.tensor([eps], dtype=torch.float64)


def solve(w: Tensor, x: Tensor, eps: Tensor, p: float) -> Tensor:
    return linear_minimization_oracle(w.clone(), 1 - x, x, eps, p)[0]


def plain(w: Tensor, x: Tensor, eps: float, p: float) -> Tensor:
    """Sizes by bisection on the logarithm of t, in float64; p = 1 one pixel after the other."""
    w, x = w.double(), x.double()
    a = w.abs() / w.abs().max()
    room = torch.where(w > 0, 1 - x, x) * (w != 0)
    if p == math.inf:
        return room.clamp_max(eps)
    if p == 1:
        sizes, left = torch.zeros_like(a), eps
        for i in a.argsort(descending=True).tolist():
            sizes[i] = min(float(room[i]), left)
            left -= float(sizes[i])
        return sizes
    if float((room**p).sum()) <= eps**p:
        return room
    log_share = a.log() / (p - 1)
    low, high = -800.0, float((room.log() - log_share)[room > 0].max()) + 1
    for _ in range(200):
        middle = (low + high) / 2
        sizes = torch.minimum(room, (log_share + middle).exp())
        low, high = (middle, high) if float((sizes**p).sum()) <= eps**p else (low, middle)
    return torch.minimum(room, (log_share + low).exp())


@pytest.mark.parametrize("p", EXPONENTS)
@pytest.mark.parametrize(("dtype", "off"), [(torch.float64, 1e-10), (torch.float32, 2e-7)])
def test_equals_a_plain_bisection(p, dtype, off):
    for seed in range(40):
        w, x, eps = instance(seed, (5, 20, 60, 500)[seed % 4], p, dtype)
        change = solve(w, x, eps, p)[0].double()
        best = float((w[0].double().abs() * plain(w[0], x[0], float(eps), p)).sum())
        assert float((w[0].double() * change).sum()) >= best * (1 - off) - 1e-300
        assert float(lp_norm(change[None], p)) <= float(eps) * (1 + off)


@pytest.mark.parametrize("p", [1.2, 1.5, 2, 3])
def test_beats_a_generic_convex_solver(p):
    scipy_optimize = pytest.importorskip("scipy.optimize")
    for seed in range(8):
        w, x, eps = instance(seed, 6, p)
        slope = (w / w.abs().max())[0].numpy()
        start = torch.zeros(6, dtype=torch.float64).numpy() + 1e-3 * (0.5 - x[0].numpy())
        found = scipy_optimize.minimize(
            lambda u, slope=slope: -float(slope @ u),
            start,
            jac=lambda u, slope=slope: -slope,
            bounds=[(-float(v), 1 - float(v)) for v in x[0]],
            constraints={
                "type": "ineq",
                "fun": lambda u, e=float(eps): e**p - float((abs(u) ** p).sum()),
                "jac": lambda u: -p * abs(u) ** (p - 1) * (2.0 * (u > 0) - 1),
            },
            method="SLSQP",
            options={"ftol": 1e-12, "maxiter": 500},
        )
        ours = float((w / w.abs().max() * solve(w, x, eps, p)).sum())
        assert ours >= -found.fun - 1e-6 * abs(found.fun)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), p=st.sampled_from(EXPONENTS), d=st.integers(1, 200))
def test_stays_in_ball_and_pixel_range_and_follows_the_slopes(seed, p, d):
    w, x, eps = instance(seed, d, p, torch.float32)
    change = solve(w, x, eps, p)
    assert float(lp_norm(change, p)) <= float(eps) * (1 + 1e-6)
    assert float((x + change).min()) >= 0
    assert float((x + change).max()) <= 1
    assert bool(((change == 0) | (change.sign() == w.sign())).all())


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), p=st.sampled_from([1.05, 1.1, 1.2, 1.5, 1.8, 2, 3, 10]), d=st.integers(2, 200))
def test_meets_the_optimality_conditions(seed, p, d):
    w, x, eps = instance(seed, d, p)
    size = solve(w, x, eps, p).abs()[0]
    room = torch.where(w > 0, 1 - x, x)[0] * (w[0] != 0)
    free = (size < room * (1 - 1e-9)) & (size > 1e-200)
    if not bool((size < room).any()):
        return
    assert float(lp_norm(size[None], p)) == pytest.approx(float(eps), rel=1e-8)
    share = (w[0].abs() / w.abs().max()).log() / (p - 1)
    level = size.log() - share
    if bool(free.any()):
        torch.testing.assert_close(level[free], level[free][:1].expand(int(free.sum())), rtol=1e-7, atol=1e-7)
        full = (size >= room) & (room > 0)
        assert bool((level[full] <= level[free].max() + 1e-7).all())


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), p=st.sampled_from(EXPONENTS), d=st.integers(1, 60))
def test_no_feasible_point_is_better(seed, p, d):
    w, x, eps = instance(seed, d, p)
    best = (w * solve(w, x, eps, p)).sum()
    change = keyed_uniform(row_keys(seed, 20), (d,), 3).double() - x  # anywhere in the range, then pulled into the ball
    change = change * (eps / lp_norm(change, p)).clamp_max(1)[:, None]
    assert bool(((w * change).sum(1) <= best + 1e-9 * w.abs().max()).all())


@pytest.mark.parametrize("p", EXPONENTS)
@pytest.mark.parametrize("scale", [1e-30, 1e-9, 1.0, 1e12, 1e30])
def test_no_scale_of_the_slopes_matters(p, scale):
    w, x, eps = instance(3, 300, p, torch.float32)
    w = (w / w.abs().max()).float()
    torch.testing.assert_close(solve(w * scale, x, eps, p), solve(w, x, eps, p), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("p", EXPONENTS)
def test_order_and_signs_of_the_pixels_do_not_matter(p):
    w, x, eps = instance(4, 100, p)
    change = solve(w, x, eps, p)
    order = torch.arange(100).flip(0)
    torch.testing.assert_close(solve(w[:, order], x[:, order], eps, p), change[:, order])
    torch.testing.assert_close(solve(-w, 1 - x, eps, p), -change)


@pytest.mark.parametrize("p", [1, 1.1, 1.5, 2, 3])
def test_value_grows_with_the_radius_and_is_concave_in_its_power(p):
    w, x, _ = instance(5, 50, p)
    power = torch.linspace(0.05, 3, 40, dtype=torch.float64)
    radii = power ** (1 / p)
    value = torch.stack([(w * solve(w, x, radii[i : i + 1], p)).sum() for i in range(40)])
    gains = value.diff()
    assert bool((gains >= -1e-12 * value.max()).all())
    assert bool((gains.diff() <= 1e-9 * value.max()).all())


@pytest.mark.parametrize(("p", "limit"), [(1 + 1e-4, 1), (500.0, math.inf)])
def test_is_continuous_at_the_ends_of_the_range(p, limit):
    for seed in range(6):
        w, x, eps = instance(seed, 40, limit)
        near, end = (w * solve(w, x, eps, p)).sum(), (w * solve(w, x, eps, limit)).sum()
        assert float(near) == pytest.approx(float(end), rel=0.02)


def test_equal_slopes_share_alike_at_p_1():
    x = torch.full((1, 4), 0.5, dtype=torch.float64)
    w = torch.tensor([[1.0, 1.0, 2.0, 0.5]], dtype=torch.float64)
    change = solve(w, x, torch.tensor([1.1], dtype=torch.float64), 1)
    torch.testing.assert_close(change, torch.tensor([[0.3, 0.3, 0.5, 0.0]], dtype=torch.float64))


@pytest.mark.parametrize("p", EXPONENTS)
def test_rows_are_independent_and_rows_without_a_slope_are_flagged(p):
    parts = [instance(seed, 64, p, torch.float32) for seed in range(5)]
    w, x, eps = (torch.cat(column) for column in zip(*parts, strict=True))
    w[1], w[3, 7] = 0.0, math.nan
    change, usable = linear_minimization_oracle(w.clone(), 1 - x, x, eps, p)
    assert usable.tolist() == [True, False, True, False, True]
    assert not change[1].any()
    assert not change[3].any()
    for row in (0, 2, 4):
        torch.testing.assert_close(change[row], solve(*(t[row : row + 1] for t in (w, x, eps)), p)[0])


@pytest.mark.parametrize("p", EXPONENTS)
def test_a_ball_that_contains_the_pixel_range_leaves_only_the_range(p):
    w, x, _ = instance(6, 30, p)
    change = solve(w, x, torch.tensor([1e6], dtype=torch.float64), p)
    torch.testing.assert_close(x + change, torch.where(w > 0, 1.0, torch.where(w < 0, 0.0, x)))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), p=st.sampled_from(EXPONENTS))
def test_filling_reaches_the_ball_and_never_leaves_it(seed, p):
    w, x, eps = instance(seed, 80, p)
    vertex = solve(w, x, eps, p)
    inside = vertex * 0.3
    room = torch.where(inside > 0, 1 - x, x)
    size = fill(inside.abs(), room, eps, p)
    assert float(lp_norm(size, p)) <= float(eps) * (1 + 1e-6)
    assert bool((size <= room).all())
    assert bool((size >= inside.abs() - 1e-12).all())
    assert bool(((size > 0) == (inside != 0)).all())
    if bool((size < room)[inside != 0].any()):
        assert float(lp_norm(size, p)) == pytest.approx(float(eps), rel=1e-6)


@pytest.mark.parametrize("radius", [0.5, 1.5, 3.0])
def test_halving_finds_the_level_that_many_passes_find(monkeypatch, radius):
    draw = torch.Generator().manual_seed(3)
    weight = torch.rand(4, 60, generator=draw, dtype=torch.float64) ** 4
    room = torch.rand(4, 60, generator=draw, dtype=torch.float64)
    eps = torch.full((4,), radius, dtype=torch.float64)
    expected = lmo._careful(weight, room, eps, 1.5)
    monkeypatch.setattr(lmo, "_PASSES", 0)
    torch.testing.assert_close(lmo._careful(weight, room, eps, 1.5), expected)
    assert (expected == room).any()
    assert (expected < room).any()
