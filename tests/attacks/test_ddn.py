"""DDN against closed forms and adv-lib."""

from __future__ import annotations

import sys
import types

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.attacks.attack_nets import Ball, Linear, SmallNet
from tests.attacks.real_nets import right_images
from torch import Tensor, nn

from whywrong.attacks.ddn import DDNConfig, ddn
from whywrong.core.errors import InputError
from whywrong.core.status import Status
from whywrong.models.classifier import Classifier


def adv_lib():
    sys.modules.setdefault("visdom", types.ModuleType("visdom"))  # imported by adv-lib for plots that are not drawn
    return pytest.importorskip("adv_lib.attacks")


@pytest.mark.parametrize("targeted", [False, True])
def test_the_change_of_a_linear_model_has_the_length_of_the_distance_to_the_boundary(targeted):
    draw = torch.Generator().manual_seed(0)
    w = torch.randn((2, 48), generator=draw)
    model, x = Linear(w, torch.zeros(2)), 0.3 + 0.4 * torch.rand((6, 3, 4, 4), generator=draw)
    logits = model(x).detach()
    y = logits.argmax(1)
    distance = (logits[:, 0] - logits[:, 1]).abs() / (w[0] - w[1]).norm()
    config = DDNConfig(steps=600, gamma=0.01, init_norm=0.3)
    result = ddn(Classifier(model), x, y, targets=1 - y if targeted else None, config=config)
    assert result.success.all()
    assert (result.l2 >= distance * (1 - 1e-5)).all()
    assert (result.l2 <= distance * 1.015).all()  # the norm moves in steps of 1 %
    assert result.forwards.tolist() == [602] * 6
    assert result.backwards.tolist() == [600] * 6


def test_the_change_out_of_a_ball_is_radial():
    centre = torch.full((1, 3, 4, 4), 0.5)
    x = centre + 0.02 * torch.randn((4, 3, 4, 4), generator=torch.Generator().manual_seed(0))
    result = ddn(Classifier(Ball(centre, 0.5)), x, torch.ones(4, dtype=torch.int64), config=DDNConfig())
    assert (
        result.status == [Status.ALREADY_CORRECT] * 4
    )  # inside the ball class 0 wins, so that class 1 is wrong already
    result = ddn(Classifier(Ball(centre, 0.5)), x, torch.zeros(4, dtype=torch.int64), config=DDNConfig(steps=300))
    distance = 0.5 - (x - centre).flatten(1).norm(dim=1)
    assert (result.l2 >= distance * (1 - 1e-5)).all()
    assert (result.l2 <= 1.05 * distance + 1e-4).all()


@given(seed=st.integers(0, 10_000), levels=st.sampled_from([None, 2, 16, 256]))
@settings(max_examples=25, deadline=None)
def test_changes_stay_in_the_range_and_on_the_levels(seed, levels):
    x = torch.rand((3, 3, 8, 8), generator=torch.Generator().manual_seed(seed)).round(decimals=1)
    model = SmallNet(seed)
    result = ddn(Classifier(model), x, model(x).argmax(1), config=DDNConfig(steps=15, levels=levels))
    assert 0 <= float(result.x_adv.min()) <= float(result.x_adv.max()) <= 1
    if levels is not None:
        grid = result.x_adv[result.success] * (levels - 1)
        torch.testing.assert_close(grid, grid.round(), rtol=0, atol=1e-4)
    assert torch.equal(result.x_adv[~result.success], x[~result.success])


def test_every_target_of_a_small_net_is_reached():
    model, x = SmallNet(), torch.rand((20, 3, 8, 8), generator=torch.Generator().manual_seed(1))
    y = model(x).argmax(1)
    targets = (y + 1 + torch.arange(20) % 4) % 5
    result = ddn(Classifier(model), x, y, targets=targets, config=DDNConfig())
    assert torch.equal(result.predicted, targets)


class Plateau(nn.Module):
    """No slope until a pixel moves by 0.02, then class 1."""

    def forward(self, x: Tensor) -> Tensor:
        moved = torch.relu((x - 0.5).abs() - 0.02).flatten(1).sum(1)
        return torch.stack([torch.zeros_like(moved), 100 * moved - 1], 1)


def test_without_a_slope_it_draws_a_direction_for_each_image():
    x, y, keys = torch.full((2, 3, 4, 4), 0.5), torch.zeros(2, dtype=torch.int64), torch.tensor([1, 2])
    result = ddn(Classifier(Plateau()), x, y, keys=keys, config=DDNConfig(steps=30))
    assert result.success.all()
    assert not torch.equal(result.x_adv[0], result.x_adv[1])
    again = ddn(Classifier(Plateau()), x[1:], y[1:], keys=keys[1:], config=DDNConfig(steps=30))
    torch.testing.assert_close(again.x_adv[0], result.x_adv[1])


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"steps": 0}, "steps must be at least 1"),
        ({"gamma": 1.0}, r"gamma must be in \(0, 1\)"),
        ({"gamma": float("nan")}, r"gamma must be in \(0, 1\)"),
        ({"init_norm": 0.0}, "init_norm must be positive"),
        ({"levels": 1}, "levels must be in 2..65536"),
    ],
)
def test_a_wrong_setting_is_refused(settings, words):
    with pytest.raises(InputError, match=words):
        DDNConfig(**settings)


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("levels", [None, 256])
def test_the_path_on_a_small_net_is_that_of_adv_lib(targeted, levels):
    model, x = SmallNet(), torch.rand((20, 3, 8, 8), generator=torch.Generator().manual_seed(1))
    y = model(x).argmax(1)
    targets = (y + 1) % 5
    config = DDNConfig(steps=100, levels=levels)
    ours = ddn(Classifier(model), x, y, targets=targets if targeted else None, config=config)
    peer = adv_lib().ddn(model, x, targets if targeted else y, targeted=targeted, steps=100, levels=levels)
    norm = (peer - x).flatten(1).norm(dim=1)
    assert (ours.l2 <= norm * 1.001).all()
    assert (ours.l2 >= norm * 0.949).all()  # ours tests the last point too, whose norm may be 5 % smaller
    assert int(((ours.l2 - norm).abs() <= 1e-3 * norm).sum()) >= 15


def test_norms_on_a_trained_net_are_those_of_adv_lib(shared_data, shared_models):
    classifier, x, y = right_images(shared_data, shared_models, "robust_resnet", 60)
    ours = ddn(classifier, x, y, config=DDNConfig(steps=40))
    with classifier:
        peer = adv_lib().ddn(classifier.module, x, y, steps=40, levels=None)
    assert ours.success.all()
    norm = float((peer - x).flatten(1).norm(dim=1).median())
    assert float(ours.l2.median()) == pytest.approx(norm, rel=0.02)
