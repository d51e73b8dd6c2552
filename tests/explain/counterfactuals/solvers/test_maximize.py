"""Searches whose answers are known: linear, quadratic and local models, radii, regions, and rows that cannot move."""

from __future__ import annotations

import math

import pytest
import torch
from tests.contract.nets import build
from tests.contract.nets import images as blobs
from tests.explain.counterfactuals.analytic import Constant, Linear, Patch, Quadratic, images
from torch import Tensor, nn

from whywrong.core.errors import InputError
from whywrong.explain.counterfactuals.objectives import ClassObjective, log_probability
from whywrong.explain.counterfactuals.solvers.apgd import project_l1
from whywrong.explain.counterfactuals.solvers.domain import Domain
from whywrong.explain.counterfactuals.solvers.lmo import linear_minimization_oracle, lp_norm
from whywrong.explain.counterfactuals.solvers.maximize import SOLVERS, maximize
from whywrong.explain.counterfactuals.solvers.schedule import checkpoints
from whywrong.explain.counterfactuals.solvers.search_state import ENDINGS
from whywrong.models.classifier import Classifier

EVERY = [(s, p) for s in SOLVERS for p in (1, 1.5, 2, math.inf) if s != "apgd" or p != 1.5]


def find(net: nn.Module, x: Tensor, target: Tensor, *, kind: str = "log_probability", **options):
    classifier = Classifier(net)
    with classifier:
        return maximize(ClassObjective(classifier, kind), x, target, **options)


def ones(batch: int) -> Tensor:
    return torch.ones(batch, dtype=torch.int64)


@pytest.mark.parametrize("p", [1, 1.1, 1.5, 2, 3, math.inf])
@pytest.mark.parametrize("kind", ["log_probability", "margin"])
def test_a_linear_model_is_solved_by_one_call_of_the_oracle(p, kind):
    net, x = Linear(), images(4)
    eps = 0.1 if p == math.inf else 0.1 * 108 ** (1 / p)
    result = find(net, x, ones(4), kind=kind, p=p, eps=eps, steps=1)
    w = net.w.detach().expand_as(x).flatten(1).clone()
    radii = torch.full((4,), eps, dtype=torch.float64)
    best = linear_minimization_oracle(w, 1 - x.flatten(1), x.flatten(1), radii, p)[0].view_as(x)
    torch.testing.assert_close(result.z, x + best, atol=1e-5, rtol=0)
    scale = float((w * best.flatten(1)).sum(1).max())
    assert bool((result.gap.abs() <= 1e-4 * scale).all())


def test_rows_at_a_stationary_point_leave_early_with_gap_zero():
    result = find(Linear(), images(4), ones(4), eps=3.0, steps=20, gap_tolerance=1e-4)
    assert {ENDINGS[i] for i in result.ending.tolist()} == {"stationary"}
    assert result.steps.tolist() == [1] * 4
    assert result.forwards.tolist() == [2] * 4


def test_converges_to_the_centre_of_a_quadratic_inside_the_ball():
    x = images(3)
    centre = x[:1] + 0.02
    result = find(Quadratic(centre), x[:1], ones(1), kind="margin", p=2, eps=1.0, steps=400)
    assert float((result.z - centre).abs().max()) < 0.02


def test_reaches_the_radial_point_of_a_quadratic_outside_the_ball():
    x = images(1)
    way = torch.sign(images(1, seed=3) - 0.5) * 0.1
    result = find(Quadratic(x + way), x, ones(1), kind="margin", p=2, eps=0.3, steps=50)
    expected = x + 0.3 * way / way.norm()
    torch.testing.assert_close(result.z, expected, atol=1e-4, rtol=0)
    assert float(result.norm) == pytest.approx(0.3, rel=1e-6)


@pytest.mark.parametrize("p", [1, 1.2, 1.5])
def test_all_change_lies_in_the_patch_that_decides(p):
    x = images(3, shape=(3, 8, 8))
    result = find(Patch(), x, ones(3), p=p, eps=1.0, steps=10)
    mass = (result.z - x).abs().sum(1)
    inside = mass[:, 1:4, 1:4].sum((1, 2)) / mass.sum((1, 2))
    assert bool((inside > (0.98 if p == 1.5 else 0.9999)).all())


@pytest.mark.parametrize(("solver", "p"), EVERY)
def test_every_solver_stays_in_the_set_never_ends_below_its_start_and_counts_its_passes(solver, p):
    net, x = build("gap"), blobs(5)
    target = torch.tensor([0, 1, 2, 3, 0])
    eps = {1: 6.0, 1.5: 2.0, 2: 1.0, math.inf: 0.03}[p]
    mask = torch.zeros(5, 16, 16, dtype=torch.bool)
    mask[:, 3:12, 5:] = True
    classifier = Classifier(net)
    with classifier:
        objective = ClassObjective(classifier)
        start = objective.value(x, target)[0]
        before = classifier.forwards, classifier.backwards
        result = maximize(objective, x, target, p=p, eps=eps, steps=12, mask=mask, solver=solver, start=x)
        spent = classifier.forwards - before[0], classifier.backwards - before[1]
        fresh = objective.value(result.z, target)[0]
    assert bool((lp_norm((result.z - x).flatten(1), p) <= eps * (1 + 3e-6)).all())
    assert float(result.z.min()) >= 0
    assert float(result.z.max()) <= 1
    assert torch.equal(result.z[~mask[:, None].expand_as(x)], x[~mask[:, None].expand_as(x)])
    assert bool((result.value >= start - 1e-6).all())
    assert bool((result.value > start + 1e-3).all())
    assert bool((result.gap >= 0).all())
    assert spent == (int(result.forwards.sum()), int(result.backwards.sum()))
    torch.testing.assert_close(result.value, fresh, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(log_probability(result.logits, target), result.value, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("solver", SOLVERS)
def test_rows_do_not_depend_on_their_neighbours(solver):
    net, x = build("gap"), blobs(6)
    target, keys = torch.tensor([0, 1, 2, 3, 0, 1]), torch.arange(6) + 50
    options = {"p": 2, "eps": torch.linspace(0.5, 1.5, 6, dtype=torch.float64), "steps": 8, "solver": solver}
    whole = find(net, x, target, keys=keys, **options)
    options["eps"] = options["eps"][[4, 1]]
    part = find(net, x[[4, 1]], target[[4, 1]], keys=keys[[4, 1]], **options)
    torch.testing.assert_close(part.z, whole.z[[4, 1]], atol=1e-4, rtol=0)


def test_the_last_point_of_the_default_lies_on_the_ball():
    result = find(build("gap"), blobs(5), torch.tensor([0, 1, 2, 3, 0]), p=1.5, eps=2.0, steps=10)
    torch.testing.assert_close(result.norm, torch.full_like(result.norm, 2.0), rtol=1e-6, atol=0)


def test_confident_rows_leave():
    net, x = build("gap"), blobs(6)
    with torch.no_grad():
        target = net(x).argsort(1, descending=True)[:, 1]
    result = find(net, x, target, p=2, eps=4.0, steps=40, stop_conf=0.5)
    confident = result.ending == ENDINGS.index("confident")
    assert bool(confident.any())
    chance = log_probability(result.logits, target).exp()
    assert bool((chance[confident] >= 0.5).all())
    assert bool((result.forwards[confident] == result.steps[confident] + 1).all())
    assert bool(result.gap[confident].isfinite().all())


def test_rows_without_a_gradient_stay_as_they_are_and_say_so():
    x = images(3)
    result = find(Constant(), x, torch.tensor([0, 1, 2]), eps=1.0, steps=5)
    assert {ENDINGS[i] for i in result.ending.tolist()} == {"no_gradient"}
    assert torch.equal(result.z, x)
    assert result.gap.tolist() == [0.0] * 3
    assert result.forwards.tolist() == [1] * 3


def test_a_gradient_that_is_not_finite_freezes_its_row_alone():
    class Cracked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = Linear()

        def forward(self, x: Tensor) -> Tensor:
            # The square root of zero has an infinite slope, and times zero it is not a number.
            crack = torch.where(x[:, 0, 0, 0] > 0.999, 0.0, 1.0)
            return self.net(x) + 0 * torch.sqrt(crack * x[:, 1, 1, 1])[:, None]

    x = images(4)
    x[1, 0, 0, 0] = 1.0
    result = find(Cracked(), x, ones(4), eps=1.0, steps=5)
    assert [ENDINGS[i] for i in result.ending.tolist()] == ["steps", "non_finite", "steps", "steps"]
    assert torch.equal(result.z[1], x[1])
    whole = find(Linear(), x, ones(4), eps=1.0, steps=5)
    torch.testing.assert_close(result.z[[0, 2, 3]], whole.z[[0, 2, 3]])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"p": 0.5}, "convex"),
        ({"p": math.nan}, "p must be"),
        ({"eps": 0.0}, "positive"),
        ({"eps": math.nan}, "positive"),
        ({"eps": torch.ones(2)}, "one a row"),
        ({"steps": 0}, "steps"),
        ({"momentum": 1.0}, "momentum"),
        ({"solver": "afw"}, "solver must be"),
        ({"solver": "apgd"}, "p = 1, 2 and inf"),
        ({"mask": torch.ones(3, 5, 5, dtype=torch.bool)}, "mask"),
    ],
)
def test_bad_arguments_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        find(Linear(), images(3), ones(3), **{"eps": 1.0, **options})


def test_checkpoints_are_those_of_the_published_code():
    assert checkpoints(75) == [16, 30, 42, 52, 60, 66, 70, 74]
    assert checkpoints(30)[:6] == [6, 11, 15, 18, 20, 21]
    assert checkpoints(10)[:3] == [2, 3, 4]


def test_projection_on_l1_ball_and_range_is_the_nearest_point():
    torch.manual_seed(0)
    for _ in range(30):
        size, room = torch.rand(1, 40).double() * 2, torch.rand(1, 40).double()
        eps = torch.tensor([3.0], dtype=torch.float64)
        found = project_l1(size, room, eps)
        low, high = 0.0, 2.0
        for _ in range(100):  # the threshold by bisection
            middle = (low + high) / 2
            spent = float(torch.minimum((size - middle).clamp_min(0), room).sum())
            low, high = (middle, high) if spent > 3.0 else (low, middle)
        torch.testing.assert_close(found, torch.minimum((size - high).clamp_min(0), room), atol=1e-9, rtol=0)


def test_shrinking_and_filling_a_point_keep_it_in_the_domain():
    x = images(4)
    mask = torch.zeros(4, 1, 6, 6, dtype=torch.bool)
    mask[:, :, 2:] = True
    domain = Domain.around(x, torch.full((4,), 0.7, dtype=torch.float64), 1.5, mask)
    far = x + mask * (images(4, seed=1) - 0.5)
    near = domain.shrunk(far)
    assert bool((domain.norm(near) <= 0.7 * (1 + 1e-6)).all())
    filled = domain.filled(x + 0.1 * (near - x))
    torch.testing.assert_close(domain.norm(filled), torch.full((4,), 0.7, dtype=torch.float64), rtol=1e-6, atol=0)
    assert torch.equal(filled[~mask.expand_as(x)], x[~mask.expand_as(x)])
