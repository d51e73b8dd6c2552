"""The smallest change that a linearisation calls right, and the way back to the boundary."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from whywrong.attacks.balls import Box
from whywrong.attacks.inverted.margin_oracle import Linearization, MarginOracle
from whywrong.attacks.inverted.shrink import _nearest, close_in, polish
from whywrong.models.classifier import Classifier


class Wave(nn.Module):
    """Logits (0, f(a)) of the first pixel a, with f = bend(a) - 0.5; class 1 is right from f > 0 on."""

    def __init__(self, power: float = 1.0) -> None:
        super().__init__()
        self.power = power

    def forward(self, x: Tensor) -> Tensor:
        score = 10 * (x.flatten(1)[:, 0].clamp_min(1e-6) ** self.power - 0.5)
        return torch.stack([torch.zeros_like(score), score], 1)


def started(power: float, safety: float, at: float = 0.9) -> tuple[MarginOracle, Tensor, Tensor, Linearization]:
    x = torch.tensor([0.2, 0.5]).view(1, 1, 1, 2)
    oracle = MarginOracle(Classifier(Wave(power)), torch.ones(1, dtype=torch.int64), safety)
    rows = torch.zeros(1, dtype=torch.int64)
    return oracle, rows, x, oracle.linearise(rows, torch.tensor([at, 0.5]).view(1, 1, 1, 2))


@pytest.mark.parametrize("norm", ["l2", "linf", "l1"])
@pytest.mark.parametrize("safety", [1e-3, 0.05])
@pytest.mark.parametrize("extra", [0.0, 0.3])
def test_the_aim_lies_beyond_the_boundary_by_twice_the_safety_and_the_extra(norm, safety, extra):
    """The margin is m(a) = 5 - 10 a: what is aimed at is -2 slack, or 1 + extra times the need for that."""
    _, _, x, now = started(1.0, safety)
    assert now.slack.item() == pytest.approx(safety * 4.0)  # the largest logit at 0.9
    target = _nearest(now, now.pixels - x, Box(x, 1.0), norm, torch.tensor([extra]))
    margin = 5 - 10 * (0.2 + target.flatten()[0].item())
    need = 3.0 + 2 * safety * 4.0  # from the margin of the image, 3, to 2 slack below 0
    assert margin == pytest.approx(3.0 - (1 + extra) * need, abs=1e-5)
    assert target.flatten()[1].item() == 0


@pytest.mark.parametrize("power", [0.5, 1.0, 3.0])
def test_the_way_back_ends_just_beyond_the_boundary(power):
    oracle, rows, x, fix = started(power, 1e-4)
    margin = torch.tensor([10 * (0.5 - 0.2**power)])
    found, tests = close_in(oracle, rows, x, margin, fix, 8)
    boundary = 0.5 ** (1 / power)
    assert bool(found.right)
    assert boundary < found.pixels.flatten()[0].item() < boundary + 0.02
    assert tests.tolist() == [8]
    assert oracle.forwards.tolist() == [9]


@pytest.mark.parametrize("power", [0.5, 2.0, 3.0])
def test_the_way_back_closes_in_from_both_sides(power):
    """Six tests bring the fix, 0.4 away at first, within 0.003; halving alone would leave 0.006."""
    oracle, rows, x, fix = started(power, 1e-4)
    found, _ = close_in(oracle, rows, x, torch.tensor([10 * (0.5 - 0.2**power)]), fix, 6)
    assert found.pixels.flatten()[0].item() < 0.5 ** (1 / power) + 0.003


@pytest.mark.parametrize("power", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("norm", ["l2", "linf", "l1"])
def test_polishing_comes_near_the_boundary_and_stays_right(power, norm):
    oracle, rows, x, fix = started(power, 1e-4)
    found, sent = polish(oracle, rows, Box(x, 1.0), fix, norm, 30)
    boundary = 0.5 ** (1 / power)
    assert bool(found.right)
    assert boundary < found.pixels.flatten()[0].item() < boundary + 0.01
    assert 1 <= sent.item() <= 30
    assert oracle.backwards.item() == sent.item() + 1
