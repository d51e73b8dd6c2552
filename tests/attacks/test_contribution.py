"""Integrated gradients along a fix, and the object lift."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from whywrong.attacks.inverted.contribution import (
    BETWEEN,
    GAUSS,
    GAUSS_WEIGHTS,
    KRONROD_WEIGHTS,
    contribution,
    object_lift,
)
from whywrong.core.margins import error_margin
from whywrong.models.classifier import Classifier


class Rivals(nn.Module):
    """Class 0 is true; the logits of the rivals are lines along the first pixel, and the best one changes."""

    def __init__(self, slopes: list[float], heights: list[float]) -> None:
        super().__init__()
        self.slopes, self.heights = nn.Parameter(torch.tensor(slopes)), nn.Parameter(torch.tensor(heights))

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0, 0, :1] * self.slopes + self.heights


class TwoPixels(nn.Module):
    """Only the first of two pixels decides, by a curved law."""

    def forward(self, x: Tensor) -> Tensor:
        first = x[:, 0, 0, 0]
        return torch.stack([1 - first.square(), first], 1)


class Curved(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.first = nn.Parameter(torch.randn(8, 2, 3, 3, generator=generator))
        self.last = nn.Parameter(torch.randn(4, 8, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(torch.nn.functional.conv2d(x, self.first)).mean((2, 3)) @ self.last.T


def along(module: nn.Module, x: Tensor, y: Tensor, delta: Tensor, **options):
    classifier = Classifier(module)
    before, after = (error_margin(classifier.logits(at), y) for at in (x, x + delta))
    counted = classifier.forwards, classifier.backwards
    settings = {"halvings": 4, "tolerance": 0.018, **options}
    found = contribution(classifier, x, y, delta, before, after, **settings)
    assert classifier.forwards - counted[0] == int(found.forwards.sum())
    assert classifier.backwards - counted[1] == int(found.backwards.sum())
    return found, before - after


def test_a_linear_model_is_complete_at_once():
    generator = torch.Generator().manual_seed(0)
    w = torch.randn(2, 3, 5, 5, generator=generator)
    module = nn.Sequential(nn.Flatten(), nn.Linear(75, 2))
    module[1].weight.data, module[1].bias.data = w.flatten(1), torch.tensor([9.0, 0.0])
    x, delta = torch.rand(2, 3, 5, 5, generator=generator), 0.1 * torch.randn(2, 3, 5, 5, generator=generator)
    delta = (x + delta).clamp(0, 1) - x
    found, fall = along(module, x, torch.ones(2, dtype=torch.int64), delta, halvings=0)
    torch.testing.assert_close(found.map, (delta * (w[1] - w[0])).sum(1))
    torch.testing.assert_close(found.map.sum((1, 2)), fall, rtol=1e-4, atol=1e-5)
    assert found.residual.max() < 1e-4
    assert found.nodes.tolist() == found.forwards.tolist() == found.backwards.tolist() == [3, 3]


def test_the_pixel_that_decides_gets_everything():
    x, delta = torch.tensor([[[[0.2, 0.9]]]]), torch.tensor([[[[0.5, -0.3]]]])
    found, fall = along(TwoPixels(), x, torch.tensor([1]), delta)
    assert found.map[0, 0, 1] == 0
    torch.testing.assert_close(found.map[0, 0, 0], fall[0])  # Gauss's nodes are exact for a quintic


@pytest.mark.parametrize(
    ("nodes", "weights", "degree"), [(GAUSS, GAUSS_WEIGHTS, 5), (GAUSS + BETWEEN, KRONROD_WEIGHTS, 11)]
)
def test_nodes_integrate_polynomials_of_their_degree_exactly(nodes, weights, degree):
    for power in range(degree + 1):
        exact = (1 - (-1) ** (power + 1)) / (power + 1)
        assert sum(w * t**power for t, w in zip(nodes, weights, strict=True)) == pytest.approx(exact, abs=1e-14)
    power = degree + 1
    assert sum(w * t**power for t, w in zip(nodes, weights, strict=True)) != pytest.approx(2 / (power + 1), abs=1e-6)


@pytest.mark.parametrize("kink", [0.13, 0.45, 0.77])
def test_a_change_of_the_best_rival_is_complete_after_halving(kink):
    # margin 4 - 2 t up to the kink, 4 - 2 kink - 0.5 (t - kink) after it
    module = Rivals([0.0, -2.0, -0.5], [0.0, 4.0, 4.0 - 1.5 * kink])
    x, delta = torch.zeros(1, 1, 1, 1), torch.ones(1, 1, 1, 1)
    coarse, _ = along(module, x, torch.tensor([0]), delta, halvings=0)
    assert coarse.residual.item() > 0.02
    found, fall = along(module, x, torch.tensor([0]), delta)
    assert fall.item() == pytest.approx(2 * kink + 0.5 * (1 - kink), rel=1e-5)
    assert found.residual.item() < 0.018
    assert found.map.sum().item() == pytest.approx(fall.item(), rel=0.018)


def test_rows_that_add_up_are_not_halved_for_others():
    module = Rivals([0.0, -2.0, -0.1], [0.0, 4.0, 3.3])
    x = torch.tensor([0.0, 0.5]).view(2, 1, 1, 1)  # the second row lies beyond the kink at 0.37
    found, _ = along(module, x, torch.zeros(2, dtype=torch.int64), torch.full((2, 1, 1, 1), 0.5))
    assert found.forwards[0] > 7
    assert found.forwards[1] == found.backwards[1] == 3


def test_agrees_with_captum():
    captum = pytest.importorskip("captum.attr")
    module, generator = Curved(), torch.Generator().manual_seed(2)
    x, delta = torch.rand(5, 2, 8, 8, generator=generator), 0.3 * torch.randn(5, 2, 8, 8, generator=generator)
    delta = (x + delta).clamp(0, 1) - x
    y = torch.tensor([0, 1, 2, 3, 0])

    def margin(at: Tensor) -> Tensor:
        rows = torch.arange(len(at)) % 5
        return error_margin(module(at), y[rows])

    oracle = captum.IntegratedGradients(margin)
    expected = -oracle.attribute(x + delta, baselines=x, n_steps=200, method="gausslegendre").detach().sum(1)
    found, _ = along(module, x, y, delta, halvings=6, tolerance=1e-4)
    difference = (found.map - expected).abs().sum((1, 2)) / expected.abs().sum((1, 2))
    assert difference.max() < 0.005


def slow_lift(amount: np.ndarray, mask: np.ndarray) -> tuple[float, float]:
    """The lift, and its p-value by shifting the mask to every place in turn."""
    height, width = mask.shape
    on_object = np.array([(amount * np.roll(mask, (i, j), (0, 1))).sum() for i in range(height) for j in range(width)])
    here = (amount * mask).sum()
    above, below = (on_object >= here - 1e-9).mean(), (on_object <= here + 1e-9).mean()
    return here / amount.sum() / mask.mean(), min(1.0, 2 * min(above, below))


def test_lift_and_p_value_equal_those_of_every_shift_made_in_turn():
    generator = torch.Generator().manual_seed(0)
    maps = torch.randn(4, 15, 17, generator=generator).square() * torch.randn(4, 15, 17, generator=generator)
    masks = torch.zeros(4, 15, 17, dtype=torch.bool)
    masks[0, 3:9, 4:10], masks[1, :2], masks[2, :, 5:], masks[3, 7, 7] = True, True, True, True
    masks[3, 2:12, 3], masks[3, 11, 3:8] = True, True  # an L is no mirror image of itself
    maps[0, 3:9, 4:10] *= 4
    lift, p = object_lift(maps, masks)
    for row in range(4):
        expected = slow_lift(maps[row].abs().double().numpy(), masks[row].numpy())
        assert lift[row].item() == pytest.approx(expected[0], rel=1e-5)
        assert p[row].item() == pytest.approx(expected[1], abs=1e-6)
    assert p[0] < 0.05


def test_a_map_beside_the_object_has_no_lift():
    masks = torch.zeros(1, 16, 16, dtype=torch.bool)
    masks[:, :, 8:] = True
    lift, _ = object_lift((~masks).float(), masks)
    assert lift.item() == 0


def test_no_lift_without_an_object_or_with_an_object_that_is_everything():
    masks = torch.stack([torch.zeros(16, 16, dtype=torch.bool), torch.ones(16, 16, dtype=torch.bool)])
    lift, p = object_lift(torch.rand(2, 16, 16), masks)
    assert lift.isnan().all()
    assert p.isnan().all()


def test_too_few_shifts_give_no_p_value():
    masks = torch.zeros(1, 14, 14, dtype=torch.bool)  # 196 shifts
    masks[:, :7] = True
    lift, p = object_lift(torch.rand(1, 14, 14), masks)
    assert not lift.isnan().any()
    assert p.isnan().all()
