"""On trained CIFAR-10 nets: as strong as the published solver at fewer steps, and sparser at smaller exponents."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.attacks.real_nets import right_images
from torch import Tensor

from whywrong.core.randomness import row_keys
from whywrong.explain.counterfactuals import CounterfactualConfig, counterfactual, default_radius, maximize, smallest
from whywrong.explain.counterfactuals.metrics import pix90
from whywrong.explain.counterfactuals.objectives import ClassObjective
from whywrong.models.classifier import Classifier

Case = tuple[Classifier, Tensor, Tensor]


@pytest.fixture(scope="module")
def robust(shared_data: Path, shared_models: Any) -> Case:
    classifier, x, y = right_images(shared_data, shared_models, "robust_resnet", 24)
    return classifier, x, (y + 1 + torch.arange(24) % 9).remainder(10)


def test_thirty_steps_do_the_work_of_seventy_five_of_the_published_solver(robust):
    classifier, x, target = robust
    with classifier:
        objective, eps = ClassObjective(classifier), default_radius(1.5, 3072)
        ours = maximize(objective, x, target, eps=eps, steps=30)
        theirs = maximize(objective, x, target, eps=eps, steps=75, solver="afw-v1", keys=row_keys(0, 24))
    assert float((ours.value - theirs.value).mean()) > -0.01
    assert float((theirs.norm / eps).mean()) < 0.99  # it ends inside the ball, ours on it
    torch.testing.assert_close(ours.norm, torch.full_like(ours.norm, eps), rtol=1e-6, atol=0)


def test_the_share_of_pixels_that_change_grows_with_the_exponent(robust):
    classifier, x, target = robust
    held = []
    with classifier:
        for p in (1, 1.5, 2, math.inf):
            found = maximize(ClassObjective(classifier), x, target, p=p, eps=default_radius(p, 3072), steps=15)
            held.append(float(pix90(x, found.z).mean()))
    assert held == sorted(held)
    assert held[0] < 0.1 < held[1] < 0.6 < held[3]


def test_the_smallest_change_is_near_that_of_a_long_search(robust):
    classifier, x, target = robust
    with classifier:
        objective, eps = ClassObjective(classifier, "margin"), default_radius(1.5, 3072)
        short = smallest(objective, x[:8], target[:8], p=1.5, eps=eps)
        long = smallest(objective, x[:8], target[:8], p=1.5, eps=eps, steps=40, solves=10)
    assert bool(short.found.all())
    assert float(short.radius.median()) <= 1.1 * float(long.radius.median())


def test_an_ordinary_net_gives_no_counterfactual_that_is_called_semantic(shared_data, shared_models):
    classifier, x, y = right_images(shared_data, shared_models, "resnet20", 6)
    result = counterfactual(classifier, x, (y + 1) % 10, config=CounterfactualConfig(steps=10))
    assert bool(result.entries.valid.all())
    assert bool(result.entries.valid_u8.all())
    assert "semantic" not in result.entries.trust
