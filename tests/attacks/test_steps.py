"""The first-order steps against solvers that know nothing of them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog, minimize
from torch import Tensor

from whywrong.attacks.balls import norm_of
from whywrong.attacks.inverted.steps import STEPS, polyhedral_step

PIXELS = (2, 3, 3)


def problem(seed: int, batch: int = 6, share: float = 0.4) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients, needs of ``share`` of what the box allows, and boxes with many pixels on a bound."""
    draw = torch.Generator().manual_seed(seed)
    g = torch.randn((batch, *PIXELS), generator=draw, dtype=torch.float64)
    x = (1.4 * torch.rand((batch, *PIXELS), generator=draw, dtype=torch.float64) - 0.2).clamp(0, 1)
    low, high = -x, 1 - x
    most = (g.abs() * torch.where(g > 0, -low, high)).flatten(1).sum(1)
    return g, share * most, low, high


def lowest_by_solver(norm: str, g: np.ndarray, need: float, low: np.ndarray, high: np.ndarray) -> float:
    n = len(g)
    if norm == "l2":
        start = np.where(g > 0, low, high)
        answer = minimize(
            lambda d: d @ d,
            start,
            jac=lambda d: 2 * d,
            bounds=list(zip(low, high, strict=True)),
            constraints=[{"type": "ineq", "fun": lambda d: -g @ d - need, "jac": lambda d: -g}],
            method="SLSQP",
            options={"ftol": 1e-15, "maxiter": 1000},
        )
        assert answer.success
        return float(np.sqrt(answer.x @ answer.x))
    # Variables: the change d, and either one bound for all |d_i| (linf) or one for each (l1).
    bounds = 1 if norm == "linf" else n
    pick = np.ones((n, 1)) if norm == "linf" else np.eye(n)
    eye = np.eye(n)
    rows = np.block([[eye, -pick], [-eye, -pick], [g[None], np.zeros((1, bounds))]])
    limits = np.concatenate([np.zeros(2 * n), [-need]])
    cost = np.concatenate([np.zeros(n), np.ones(bounds)])
    answer = linprog(cost, rows, limits, bounds=[*zip(low, high, strict=True), *[(0, None)] * bounds])
    assert answer.success
    return float(answer.fun)


@pytest.mark.parametrize("share", [0.05, 0.4, 0.95])
@pytest.mark.parametrize("norm", ["l2", "linf", "l1"])
def test_a_step_is_as_short_as_the_solver_finds(norm, share):
    g, need, low, high = problem(1, share=share)
    delta, feasible = STEPS[norm](g, need, low, high)
    assert feasible.all()
    for row in range(len(g)):
        arrays = [part[row].flatten().numpy() for part in (g, low, high)]
        expected = lowest_by_solver(norm, arrays[0], float(need[row]), arrays[1], arrays[2])
        assert float(norm_of(delta, norm)[row]) == pytest.approx(expected, rel=1e-6)


def test_the_l0_step_changes_as_few_pixels_as_any_subset_can():
    g, need, low, high = problem(2, batch=4)
    delta, feasible = STEPS["l0"](g, need, low, high)
    assert feasible.all()
    gain = (g.abs() * torch.where(g > 0, -low, high)).sum(1).flatten(1).tolist()  # B lists, one entry a pixel
    for row in range(len(g)):
        enough = (
            count
            for count in range(10)
            if any(sum(chosen) >= float(need[row]) for chosen in itertools.combinations(gain[row], count))
        )
        assert int(norm_of(delta, "l0")[row]) == next(enough)
    torch.testing.assert_close(-(g * delta).flatten(1).sum(1), need)


@pytest.mark.parametrize("norm", STEPS)
@given(seed=st.integers(0, 10_000), share=st.floats(1e-4, 0.999))
@settings(max_examples=30, deadline=None)
def test_a_step_meets_the_need_inside_the_box(norm, seed, share):
    g, need, low, high = problem(seed, share=share)
    delta, feasible = STEPS[norm](g, need, low, high)
    assert feasible.all()
    assert (delta >= low).all()
    assert (delta <= high).all()
    torch.testing.assert_close(-(g * delta).flatten(1).sum(1), need, rtol=1e-9, atol=0)


@pytest.mark.parametrize("norm", STEPS)
def test_a_need_beyond_the_box_is_reported_and_the_step_goes_as_far_as_it_can(norm):
    g, need, low, high = problem(3, share=1.01)
    delta, feasible = STEPS[norm](g, need, low, high)
    assert not feasible.any()
    torch.testing.assert_close(-(g * delta).flatten(1).sum(1), need / 1.01)


@pytest.mark.parametrize("norm", STEPS)
def test_no_need_and_no_slope_give_no_change(norm):
    g, need, low, high = problem(4, batch=2)
    delta, feasible = STEPS[norm](g, -need, low, high)
    assert feasible.all()
    assert not delta.any()
    delta, feasible = STEPS[norm](torch.zeros_like(g), need, low, high)
    assert not feasible.any()
    assert not delta.any()


@pytest.mark.parametrize("norm", STEPS)
def test_a_step_depends_on_its_own_row_only(norm):
    g, need, low, high = problem(5)
    whole, _ = STEPS[norm](g, need, low, high)
    for row in range(len(g)):
        one = slice(row, row + 1)
        torch.testing.assert_close(STEPS[norm](g[one], need[one], low[one], high[one])[0][0], whole[row])


@pytest.mark.parametrize("rivals", [1, 2, 3, 5])
def test_the_polyhedral_step_is_as_short_as_the_solver_finds(rivals):
    draw = torch.Generator().manual_seed(rivals)
    _, _, low, high = problem(rivals)
    g = torch.randn((6, rivals, *PIXELS), generator=draw, dtype=torch.float64)
    inside = low + (high - low) * torch.rand(low.shape, generator=draw, dtype=torch.float64)
    need = -(g * inside[:, None]).flatten(2).sum(2)  # so that the box holds a solution
    delta, feasible = polyhedral_step(g, need, low, high)
    assert feasible.all()
    assert (delta >= low).all()
    assert (delta <= high).all()
    for row in range(len(g)):
        slopes, wanted = g[row].flatten(1).numpy(), need[row].numpy()
        answer = minimize(
            lambda d: d @ d,
            inside[row].flatten().numpy(),
            jac=lambda d: 2 * d,
            bounds=list(zip(low[row].flatten().numpy(), high[row].flatten().numpy(), strict=True)),
            constraints=[
                {"type": "ineq", "fun": lambda d, a=slopes, b=wanted: -a @ d - b, "jac": lambda d, a=slopes: -a}
            ],
            method="SLSQP",
            options={"ftol": 1e-12, "maxiter": 1000},
        )
        assert (slopes @ answer.x + wanted <= 1e-9).all()
        assert float(delta[row].square().sum()) == pytest.approx(float(answer.fun), rel=1e-6)


def test_the_polyhedral_step_with_one_rival_is_the_l2_step():
    g, need, low, high = problem(7)
    expected, _ = STEPS["l2"](g, need, low, high)
    torch.testing.assert_close(polyhedral_step(g[:, None], need[:, None], low, high)[0], expected)


def test_the_polyhedral_step_reports_needs_that_contradict_each_other():
    g, need, low, high = problem(8)
    both = torch.stack([g, -g], 1)
    _, feasible = polyhedral_step(both, need[:, None].expand(-1, 2), low, high)
    assert not feasible.any()


def test_needs_of_very_different_size_are_met_to_the_size_of_the_largest():
    draw = torch.Generator().manual_seed(11)
    g = torch.randn((6, 2, *PIXELS), generator=draw) * torch.tensor([1e4, 1.0]).view(1, 2, 1, 1, 1)
    bound = torch.ones(6, *PIXELS)
    delta, feasible = polyhedral_step(g, torch.tensor([[1e4, 1e-4]]).expand(6, 2), -bound, bound)
    assert feasible.all()
    reached = -(g * delta[:, None]).flatten(2).sum(2)
    torch.testing.assert_close(reached[:, 0], torch.full((6,), 1e4))
    assert (reached[:, 1] >= -0.1).all()
