"""APGD against closed forms, a plain second writing of the paper, and adv-lib."""

from __future__ import annotations

import sys
import types

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.attacks.attack_nets import Linear, SmallNet
from tests.attacks.real_nets import right_images
from torch import Tensor, nn

from whywrong.attacks.apgd import APGDConfig, _Climb, apgd, checkpoints
from whywrong.attacks.balls import Ball
from whywrong.attacks.objectives import attack_loss
from whywrong.core.errors import InputError
from whywrong.models.classifier import Classifier


def test_checkpoints_of_a_hundred_steps_are_those_of_the_paper():
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert checkpoints(1) == [1]


@pytest.mark.parametrize("loss", ["ce", "margin"])
def test_the_linf_attack_of_a_linear_model_ends_in_the_corner_of_the_box(loss):
    draw = torch.Generator().manual_seed(0)
    w, x = torch.randn((2, 48), generator=draw), torch.rand((5, 3, 4, 4), generator=draw)
    model = Linear(w, torch.tensor([20.0, 0.0]))
    result = apgd(
        Classifier(model), x, torch.zeros(5, dtype=torch.int64), config=APGDConfig(eps=0.1, loss=loss, steps=20)
    )
    torch.testing.assert_close(result.x_adv, (x + 0.1 * (w[1] - w[0]).view(1, 3, 4, 4).sign()).clamp(0, 1))
    assert result.forwards.tolist() == [22] * 5
    assert result.backwards.tolist() == [20] * 5


def test_the_l2_attack_of_a_linear_model_goes_along_the_slope():
    draw = torch.Generator().manual_seed(0)
    w, x = torch.randn((2, 48), generator=draw), 0.4 + 0.2 * torch.rand((5, 3, 4, 4), generator=draw)
    model, y = Linear(w, torch.tensor([20.0, 0.0])), torch.zeros(5, dtype=torch.int64)
    result = apgd(Classifier(model), x, y, targets=y + 1, config=APGDConfig(norm="l2", eps=0.3))
    slope = (w[1] - w[0]).view(1, 3, 4, 4)
    torch.testing.assert_close(result.x_adv, x + 0.3 * slope / slope.norm(), rtol=0, atol=1e-4)


def plainly(model: nn.Module, x: Tensor, start: Tensor, y: Tensor, loss: str, norm: str, eps: float, steps: int):
    """Algorithm 1 of the paper for one image (1, C, H, W), line by line: the highest loss and its point."""

    def f(point: Tensor) -> tuple[float, Tensor]:
        point = point.clone().requires_grad_()
        z = model(point)[0]
        order = z.argsort(descending=True)
        other = order[0] if order[0] != y else order[1]
        ratio = (z[other] - z[y]) / (z[order[0]] - z[order[2]])
        value = -torch.log_softmax(z, 0)[y] if loss == "ce" else ratio
        return float(value.detach()), torch.autograd.grad(value, point)[0]

    def project(point: Tensor) -> Tensor:
        delta = point - x
        delta = delta.clamp(-eps, eps) if norm == "linf" else delta * min(1.0, eps / max(float(delta.norm()), 1e-12))
        return (x + delta).clamp(0, 1)

    def up(point: Tensor, eta: float) -> Tensor:
        grad = f(point)[1]
        return project(point + eta * (grad.sign() if norm == "linf" else grad / grad.norm()))

    eta = 2 * eps
    path = [start, up(start, eta)]
    best = max(path, key=lambda point: f(point)[0])
    w = [0, *checkpoints(steps)]
    etas, bests, rises = {0: eta}, {0: f(start)[0]}, [f(path[1])[0] > f(path[0])[0]]
    for k in range(1, steps):
        if k in w:
            j = w.index(k)
            since = rises[w[j - 1] : k]
            condition_1 = sum(since) < 0.75 * (k - w[j - 1])
            condition_2 = etas[w[j - 1]] == eta and bests[w[j - 1]] == f(best)[0]
            bests[k], etas[k] = f(best)[0], eta
            if condition_1 or condition_2:
                eta = eta / 2
                etas[k] = eta
                path[k] = best
        z = up(path[k], eta)
        path.append(project(path[k] + 0.75 * (z - path[k]) + 0.25 * (path[k] - path[k - 1])))
        rises.append(f(path[k + 1])[0] > f(path[k])[0])
        if f(path[k + 1])[0] > f(best)[0]:
            best = path[k + 1]
    return f(best)[0], best


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("loss", ["ce", "dlr"])
def test_the_path_is_that_of_algorithm_1(loss, norm):
    model, eps = SmallNet().double(), {"linf": 0.01, "l2": 0.1}[norm]
    x = torch.rand((60, 3, 8, 8), generator=torch.Generator().manual_seed(1))
    top = model(x.double()).topk(2, dim=1).values
    x = x[(top[:, 0] - top[:, 1]).topk(6).indices]  # far from the boundary: once fooled, the ratio is flat or a pole
    y, keys = model(x.double()).argmax(1), torch.arange(6)
    start = Ball(x, eps, norm).random(keys, draw=0)
    config = APGDConfig(norm=norm, eps=eps, loss=loss, steps=50, stop_early=False)
    result = apgd(Classifier(model), x, y, keys=keys, config=config)
    for row in range(6):
        one = slice(row, row + 1)
        value, _ = plainly(model, x[one].double(), start[one].double(), y[row], loss, norm, eps, 50)
        assert not bool(result.success[row])
        ours = float(attack_loss(loss, result.logits[one], y[one], targeted=False))
        assert ours == pytest.approx(value, abs=1e-5)  # pixels of ours are float32


@given(seed=st.integers(0, 10_000), eps=st.floats(1e-3, 1.0), norm=st.sampled_from(["linf", "l2"]))
@settings(max_examples=25, deadline=None)
def test_changes_stay_in_the_ball_and_the_range(seed, eps, norm):
    x = torch.rand((3, 3, 8, 8), generator=torch.Generator().manual_seed(seed)).round(decimals=1)
    model = SmallNet(seed)
    config = APGDConfig(norm=norm, eps=eps, steps=8, restarts=2, loss="dlr", seed=seed)
    result = apgd(Classifier(model), x, model(x).argmax(1), config=config)
    delta = (result.x_adv.double() - x.double()).flatten(1)
    assert float((delta.abs().amax(1) if norm == "linf" else delta.norm(dim=1)).max()) <= eps + 1e-6
    assert 0 <= float(result.x_adv.min()) <= float(result.x_adv.max()) <= 1


@pytest.mark.parametrize("loss", ["ce", "dlr"])
def test_every_target_of_a_small_net_is_reached_with_enough_room(loss):
    model, x = SmallNet(), torch.rand((20, 3, 8, 8), generator=torch.Generator().manual_seed(1))
    y = model(x).argmax(1)
    targets = (y + 1 + torch.arange(20) % 4) % 5
    result = apgd(Classifier(model), x, y, targets=targets, config=APGDConfig(eps=0.2, steps=40, restarts=3, loss=loss))
    assert torch.equal(result.predicted, targets)


def test_the_difference_of_logits_ratio_is_that_of_the_paper():
    z = torch.tensor([[5.0, 1.0, 3.0, 2.0, 0.0]])
    right, wrong, best_other = torch.tensor([0]), torch.tensor([3]), torch.tensor([2])
    assert float(attack_loss("dlr", z, right, targeted=False)) == pytest.approx(-(5 - 3) / (5 - 2))
    assert float(attack_loss("dlr", z, wrong, targeted=False)) == pytest.approx((5 - 2) / (5 - 2))
    assert float(attack_loss("dlr", z, best_other, targeted=True)) == pytest.approx(-(5 - 3) / (5 - (2 + 1) / 2))
    torch.testing.assert_close(
        attack_loss("dlr", 7 * z + 3, right, targeted=False), attack_loss("dlr", z, right, targeted=False)
    )


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"norm": "l1"}, "norm must be one of linf, l2"),
        ({"eps": 8.0}, r"eps must be in \(0, 1\].*write 0.03137"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"restarts": 0}, "restarts must be at least 1"),
        ({"rho": 1.0}, r"rho must be in \(0, 1\)"),
        ({"loss": "mse"}, "loss must be one of ce, dlr, margin"),
    ],
)
def test_a_wrong_setting_is_refused(settings, words):
    with pytest.raises(InputError, match=words):
        APGDConfig(**settings)


def test_too_few_classes_for_the_ratio_are_refused():
    model, x, y = Linear(torch.eye(3, 48), torch.zeros(3)), torch.rand((2, 3, 4, 4)), torch.tensor([0, 1])
    apgd(Classifier(model), x, y, config=APGDConfig(loss="dlr", steps=2))
    with pytest.raises(InputError, match="at least 4 classes, the classifier has 3"):
        apgd(Classifier(model), x, y, targets=torch.tensor([1, 2]), config=APGDConfig(loss="dlr", steps=2))


def robust_accuracies(data, models, net: str, images: int, seeds: int, **settings) -> tuple[float, float]:
    """Ours and adv-lib's, means over random starts, which move either by about a point."""
    sys.modules.setdefault("visdom", types.ModuleType("visdom"))  # imported by adv-lib for plots that are not drawn
    peer = pytest.importorskip("adv_lib.attacks.auto_pgd").apgd
    classifier, x, y = right_images(data, models, net, images)
    ours, theirs = 0.0, 0.0
    for seed in range(seeds):
        config = APGDConfig(**settings, seed=seed)
        ours += float((~apgd(classifier, x, y, config=config).success).float().mean()) / seeds
        norm = float(config.norm[1:])
        with classifier, torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model, loss = classifier.module, config.loss
            changed = peer(model, x, y, config.eps, norm, n_iter=config.steps, loss_function=loss)
        theirs += float((classifier.predict(changed) == y).float().mean()) / seeds
    return ours, theirs


@pytest.mark.parametrize("loss", ["ce", "dlr"])
def test_robust_accuracy_is_that_of_adv_lib(shared_data, shared_models, loss):
    ours, theirs = robust_accuracies(shared_data, shared_models, "robust_resnet", 100, 1, steps=15, loss=loss)
    assert ours == pytest.approx(theirs, abs=0.0101)


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["ce", "dlr"])
@pytest.mark.parametrize(("norm", "eps"), [("linf", 8 / 255), ("l2", 0.5)])
@pytest.mark.parametrize("net", ["robust_resnet", "robust_vit"])
def test_robust_accuracy_at_full_length_is_that_of_adv_lib(shared_data, shared_models, net, norm, eps, loss):
    settings = {"norm": norm, "eps": eps, "loss": loss, "steps": 50}
    ours, theirs = robust_accuracies(shared_data, shared_models, net, 200, 3, **settings)
    assert ours == pytest.approx(theirs, abs=0.01)


def climbing(loss: float, best: float, checked: float, rises: int, halved: bool) -> _Climb:
    """One image at a checkpoint: where it is, the best so far, and the best at the checkpoint before."""
    point = torch.zeros(1, 1, 1, 1)
    one = torch.tensor
    return _Climb(
        rows=one([0]), pixels=point + 0.1, before=point, grad=point + 1, loss=one([loss]), size=one([0.5]),
        best=point + 0.9, best_grad=point + 2, best_loss=one([best]), rises=one([rises]), checked_loss=one([checked]),
        halved=one([halved]),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("loss", "best", "checked", "rises", "halved", "halves"),
    [
        (1.0, 3.0, 2.0, 8, False, False),  # many rises, and a new best since the last checkpoint
        (1.0, 3.0, 3.0, 8, False, True),  # no new best, and no halving there: condition 2
        (1.0, 3.0, 3.0, 8, True, False),  # no new best, but the step was halved there: it gets its time
        (1.0, 3.0, 2.0, 7, False, True),  # 7 of 10 is fewer than 0.75: condition 1
        (3.0, 3.0, 2.0, 7, True, True),
    ],
)
def test_the_step_is_halved_by_the_two_conditions_of_the_paper(loss, best, checked, rises, halved, halves):
    climb = climbing(loss, best, checked, rises, halved)
    climb.check(taken=10, rho=0.75)
    assert climb.size.item() == (0.25 if halves else 0.5)
    assert climb.pixels.item() == pytest.approx(0.9 if halves else 0.1)
    assert climb.grad.item() == (2.0 if halves else 1.0)
    assert climb.loss.item() == (best if halves else loss)
    assert climb.halved.item() is halves
    assert climb.checked_loss.item() == best
    assert climb.rises.item() == 0


def test_exactly_the_share_of_rises_is_enough():
    climb = climbing(1.0, 3.0, 2.0, 6, False)
    climb.check(taken=8, rho=0.75)
    assert climb.size.item() == 0.5


def test_arriving_counts_only_a_rise_over_the_point_before_and_keeps_the_best():
    climb = climbing(2.0, 3.0, 2.0, 0, False)
    x = torch.zeros(1, 1, 1, 1)
    climb.arrive(x + 0.2, torch.tensor([2.0]), x + 5)
    assert (climb.rises.item(), climb.best_loss.item(), climb.best.item()) == (0, 3.0, pytest.approx(0.9))
    climb.arrive(x + 0.3, torch.tensor([2.5]), x + 6)
    assert (climb.rises.item(), climb.best_loss.item()) == (1, 3.0)
    climb.arrive(x + 0.4, torch.tensor([3.5]), x + 7)
    assert (climb.rises.item(), climb.best_loss.item()) == (2, 3.5)
    assert climb.best.item() == pytest.approx(0.4)
    assert climb.best_grad.item() == 7
    assert climb.before.item() == pytest.approx(0.3)
