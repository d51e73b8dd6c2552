"""The minimal-norm attacks beside those of adv-lib and foolbox."""

from __future__ import annotations

import sys
import types
from typing import Any

import pytest
import torch
from tests.attacks.attack_nets import SmallNet
from tests.attacks.real_nets import wrong_images
from torch import Tensor

from whywrong.attacks.balls import Box, norm_of
from whywrong.attacks.inverted.margin_oracle import Linearization, MarginOracle
from whywrong.attacks.minimal import SmallestFixConfig, smallest_change, smallest_fix
from whywrong.attacks.minimal.fmn import fmn
from whywrong.attacks.minimal.geometry import Geometry
from whywrong.attacks.minimal.nearest import Nearest
from whywrong.attacks.minimal.sigma_zero import sigma_zero
from whywrong.models.classifier import Classifier

ORDER = {"l2": 2, "linf": float("inf"), "l1": 1, "l0": 0}


def adv_lib() -> Any:
    sys.modules.setdefault("visdom", types.ModuleType("visdom"))  # imported by adv-lib for plots that are not drawn
    return pytest.importorskip("adv_lib.attacks")


def foolbox() -> Any:
    return pytest.importorskip("foolbox")


def pictures(shape: tuple[int, ...] = (3, 8, 8), n: int = 24) -> tuple[SmallNet, Tensor, Tensor]:
    """A small net with images and the classes that they are read as; any shape of 192 values will do."""
    model, x = SmallNet().eval(), torch.rand((n, *shape), generator=torch.Generator().manual_seed(1))
    return model, x, model(x).argmax(1)


def from_the_image(
    model: SmallNet, x: Tensor, y: Tensor, norm: Any, *, away: bool, steps: int
) -> tuple[Nearest, Linearization, Tensor]:
    oracle, rows = MarginOracle(Classifier(model), y, 0.0, away=away), torch.arange(len(x))
    start = oracle.linearise(rows, x)
    search = Nearest(oracle, rows, Box(x, 1.0), Geometry(norm), start, budget=10**6)
    return search, start, torch.full_like(rows, steps)


@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("norm", ["l1", "linf"])
def test_fmn_takes_the_path_of_adv_lib(norm, targeted):
    model, x, y = pictures()
    classes = (y + 1) % 5 if targeted else y
    search, start, steps = from_the_image(model, x, classes, norm, away=not targeted, steps=40)
    fmn(search, start, torch.ones(len(x)), steps)
    peer = adv_lib().fmn(model, x, classes, norm=ORDER[norm], targeted=targeted, steps=40)
    found = (peer != x).flatten(1).any(1)
    assert torch.equal(search.best.right, found)
    assert int(found.sum()) >= 18
    ratio = (search.size / norm_of(peer - x, norm))[found]
    assert (ratio <= 1.0001).all()
    assert (ratio >= 0.998).all()  # ours tests the last point too, whose radius may be smaller by a thousandth


def test_sigma_zero_takes_the_path_of_adv_lib_where_a_pixel_has_one_value():
    model, x, y = pictures((1, 8, 24))
    search, start, steps = from_the_image(model, x, y, "l0", away=True, steps=60)
    sigma_zero(search, start, steps)
    peer = adv_lib().sigma_zero(model, x, y, num_steps=60)
    size = norm_of(peer - x, "l0")
    assert (model(peer).argmax(1) != y).all()
    # The peer does not test its last point.
    assert (search.size <= size).all()
    same = (search.size == size).nonzero().flatten()
    assert len(same) >= 0.8 * len(x)
    torch.testing.assert_close(search.best.pixels[same], peer[same], rtol=1e-3, atol=1e-3)


def test_superdeepfool_ends_as_near_as_that_of_adv_lib():
    model, x, y = pictures()
    ours = smallest_change(Classifier(model), x, y, config=SmallestFixConfig(solver="superdeepfool", budget=80))
    peer = norm_of(adv_lib().sdf(model, x, y) - x, "l2")
    assert ours.success.all()
    assert float(ours.l2.median()) <= float(peer.median()) * 1.001
    assert (ours.l2 <= 1.1 * peer).float().mean() >= 0.9


@pytest.mark.parametrize("norm", ["l2", "linf", "l1", "l0"])
def test_fixes_of_a_small_net_are_no_larger_than_those_of_fmn_at_as_many_passes(norm):
    model, x, y = pictures()
    targets = (y + 1) % 5
    config = SmallestFixConfig(norm=norm, budget=80)
    ours = smallest_fix(Classifier(model), x, targets, config=config)
    peer = adv_lib().fmn(model, x, targets, norm=ORDER[norm], targeted=True, steps=40)
    right = model(peer).argmax(1) == targets
    sizes = {"adv-lib": norm_of(peer - x, norm).where(right, torch.inf)}
    lib = foolbox()
    attack = getattr(lib.attacks, {"l2": "L2", "linf": "LInf", "l1": "L1", "l0": "L0"}[norm] + "FMNAttack")(steps=40)
    goal = lib.criteria.TargetedMisclassification(targets)
    _, peer, right = attack(lib.PyTorchModel(model, bounds=(0, 1), device="cpu"), x, goal, epsilons=None)
    sizes["foolbox"] = norm_of(peer - x, norm).where(right, torch.inf)
    assert ours.fixed.all()
    slack = 1.02 if norm == "l1" else 1.001  # seven of the passes find a first fix, which FMN of l1 cannot start from
    for name, size in sizes.items():
        assert float(ours.size.median()) <= float(size.median()) * slack, name


@pytest.mark.slow
@pytest.mark.parametrize("norm", ["l2", "linf", "l1", "l0"])
def test_fixes_of_a_trained_net_are_no_larger_than_those_of_fmn_at_as_many_passes(norm, shared_data, shared_models):
    classifier, x, y = wrong_images(shared_data, shared_models, "resnet20", 24)
    ours = smallest_fix(classifier, x, y, config=SmallestFixConfig(norm=norm, budget=60))
    with classifier:
        peer = adv_lib().fmn(classifier.module, x, y, norm=ORDER[norm], targeted=True, steps=30)
    size = norm_of(peer - x, norm).where(classifier.predict(peer) == y, torch.inf)
    assert ours.fixed.all()
    assert ours.u8_fixed.all()
    ratio = (ours.size / size)[size.isfinite()]  # pair by pair, as medians of 24 errors jump
    assert len(ratio) >= 20
    assert float(ratio.log().mean()) <= 0
    assert float(ours.size.median()) <= float(size.median()) * 1.02
