"""Fixes of whole grey levels: which pixels are raised, and how far."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from whywrong.attacks.inverted.margin_oracle import MarginOracle
from whywrong.attacks.inverted.rounding import _directed, grey_levels, round_fix
from whywrong.models.classifier import Classifier


def directed(levels: list[int], change: list[float], slope: list[float], goal: float) -> list[int]:
    """Levels after rounding, of one image of a row of pixels, in order of slope times change."""
    start = torch.tensor([levels], dtype=torch.uint8).view(1, 1, 1, -1)
    delta, grad = torch.tensor([change]), torch.tensor([slope])
    order = (-(grad * delta)).clamp_min(0).sort(dim=1, descending=True, stable=True).indices
    return _directed(start, delta, grad, order, torch.tensor([goal])).flatten().tolist()


def test_a_change_is_cut_to_whole_levels_and_raised_where_it_lowers_the_margin_most():
    """Slope -255 a pixel unit lowers the margin by 1 a grey level; cut, the change of 1.6 lowers it by 1."""
    levels, change, slope = [100, 100, 100], [1.6, 0.4, -0.3], [-255.0, -510.0, 255.0]
    assert directed(levels, change, slope, 0.9) == [101, 100, 100]
    assert directed(levels, change, slope, 1.5) == [102, 100, 100]  # gain 1.6 * 255 is the largest: from 1 to 2
    assert directed(levels, change, slope, 2.5) == [102, 101, 100]  # then 0.4 * 510, which is worth 2 levels of margin
    assert directed(levels, change, slope, 4.5) == [102, 101, 99]


def test_levels_stay_in_their_range():
    assert directed([255, 0], [3.7, -2.2], [-255.0, 255.0], 9.0) == [255, 0]
    assert directed([254, 1], [3.7, -2.2], [-255.0, 255.0], 9.0) == [255, 0]


def test_a_pixel_that_raises_the_margin_is_not_raised():
    assert directed([100, 100], [0.7, 0.6], [-255.0, 255.0], 50.0) == [101, 100]


def test_a_pixel_without_slope_is_not_raised():
    """It changes nothing for the model, however much is still needed."""
    assert directed([100, 100], [0.7, 0.6], [-255.0, 0.0], 50.0) == [101, 100]


def test_grey_levels_are_the_nearest():
    x = torch.tensor([0.0, 0.4 / 255, 0.6 / 255, 1.0, 0.5]).view(1, 1, 1, 5)
    assert grey_levels(x).flatten().tolist() == [0, 0, 1, 255, 128]


class Slope(nn.Module):
    """Logits (0, <w, x> - b): the margin of class 1 falls by w a pixel unit."""

    def __init__(self, w: Tensor, b: float) -> None:
        super().__init__()
        self.w, self.b = w, b

    def forward(self, x: Tensor) -> Tensor:
        score = (x * self.w).flatten(1).sum(1) - self.b
        return torch.stack([torch.zeros_like(score), score], 1)


@pytest.mark.parametrize("need", [0.6, 1.0, 2.4])
def test_a_fix_below_a_grey_level_is_rounded_away_from_the_image_and_right(need):
    """Four pixels of equal weight lower the margin by 1 a grey level each: the change is need / 4 on each."""
    x = torch.full((1, 1, 2, 2), 100 / 255)
    w = torch.full((1, 1, 2, 2), 255.0)
    net = Slope(w, 4 * 100 + need)
    oracle = MarginOracle(Classifier(net), torch.ones(1, dtype=torch.int64), 1e-6)
    delta = torch.full_like(x, need / 4 / 255)
    levels, fixed = round_fix(
        oracle, torch.zeros(1, dtype=torch.int64), x, delta, -w, torch.tensor([need]), torch.zeros(1, dtype=torch.int64)
    )
    assert bool(fixed)
    change = levels.int().flatten() - 100
    assert (change >= 0).all()
    assert need < int(change.sum()) <= need * 1.3 + 1  # right, and with no more to spare than was asked for
    assert oracle.forwards.tolist() == [1]


def test_the_pixel_whose_change_lowers_the_margin_most_is_raised_first():
    """Both change by 0.4 levels; one level lowers the margin by 1 on the first pixel and by 2 on the second."""
    x = torch.full((1, 1, 1, 2), 100 / 255)
    w = torch.tensor([255.0, 510.0]).view(1, 1, 1, 2)
    net = Slope(w, 300 + 1.2)
    oracle = MarginOracle(Classifier(net), torch.ones(1, dtype=torch.int64), 1e-6)
    rows = torch.zeros(1, dtype=torch.int64)
    levels, fixed = round_fix(oracle, rows, x, torch.full_like(x, 0.4 / 255), -w, torch.tensor([1.2]), rows)
    assert bool(fixed)
    assert levels.flatten().tolist() == [100, 101]


def test_a_change_of_whole_levels_but_for_float32_is_that_change():
    x = torch.full((1, 1, 1, 2), 100 / 255)
    w = torch.tensor([255.0, 0.0]).view(1, 1, 1, 2)
    net = Slope(w, 101.5)
    oracle = MarginOracle(Classifier(net), torch.ones(1, dtype=torch.int64), 1e-6)
    delta = torch.tensor([2.0 - 5e-4, 5e-4]).view(1, 1, 1, 2) / 255  # within a thousandth of whole levels
    levels, fixed = round_fix(
        oracle, torch.zeros(1, dtype=torch.int64), x, delta, -w, torch.tensor([1.5]), torch.zeros(1, dtype=torch.int64)
    )
    assert bool(fixed)
    assert levels.flatten().tolist() == [102, 100]


class OneCorner(nn.Module):
    """Class 1 only if the first pixel is above 105.5 grey levels: the margin's slope promises too much before."""

    def forward(self, x: Tensor) -> Tensor:
        score = 255 * x[:, 0, 0, 0] - 105.5
        return torch.stack([torch.zeros_like(score), score], 1)


def test_what_rounding_cannot_fix_goes_up_grey_level_by_grey_level_and_leaves_other_pixels_alone():
    """The change given is far too small: the sign attack goes from 100 to 106 in steps of one level."""
    x = torch.tensor([100.0, 250.0, 7.0]).view(1, 1, 1, 3) / 255
    oracle = MarginOracle(Classifier(OneCorner()), torch.ones(1, dtype=torch.int64), 1e-6)
    rows = torch.zeros(1, dtype=torch.int64)
    slope = torch.tensor([-255.0, 0.0, 0.0]).view(1, 1, 1, 3)
    levels, fixed = round_fix(oracle, rows, x, torch.zeros_like(x), slope, torch.tensor([0.1]), rows)
    assert bool(fixed)
    assert levels.flatten().tolist() == [106, 250, 7]
