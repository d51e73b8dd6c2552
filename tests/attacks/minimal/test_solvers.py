"""The smallest change of linear models, which is known in every norm, and what every solver must keep to."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.attacks.attack_nets import Ball, Linear, SmallNet
from torch import Tensor

from whywrong.attacks.minimal import SmallestFixConfig, smallest_change, smallest_fix
from whywrong.attacks.minimal.config import SOLVERS
from whywrong.attacks.minimal.method import linear_estimate
from whywrong.core.errors import InputError
from whywrong.core.status import Status
from whywrong.models.classifier import Classifier

PAIRS = [(norm, solver) for solver, norms in SOLVERS.items() for norm in norms]
NEAR = {"l2": 1.02, "linf": 1.02, "l1": 1.06, "groups": 1.06}


def linear(classes: int = 2, seed: int = 0) -> tuple[Linear, Tensor, Tensor]:
    """A linear model, six images far from black and white and near its boundary, and a class that each is not read as.

    No smallest change meets the pixel range: in l1 a single value would have to change by at most 0.3.
    """
    draw = torch.Generator().manual_seed(seed)
    model = Linear(torch.randn((classes, 48), generator=draw), torch.zeros(classes))
    x = 0.4 + 0.2 * torch.rand((6, 3, 4, 4), generator=draw)
    model.bias.data = -model(x.mean(0, keepdim=True)).detach()[0]
    return model, x, model(x).detach().argsort(1, descending=True)[:, 1]


def distance(model: Linear, x: Tensor, y: Tensor, norm: str) -> Tensor:
    """Margin over the dual norm of the difference of the weights; two classes, no pixel at its bound."""
    w = (model.weights[1 - y] - model.weights[y]).detach()
    margin = (x.flatten(1) * w).sum(1) + (model.bias[1 - y] - model.bias[y]).detach()
    if norm == "groups":  # segments are rows of the image: see the test
        return margin / w.view(-1, 3, 4, 4).square().sum((1, 3)).sqrt().amax(1)
    return margin / w.norm(p={"l2": 2, "linf": 1, "l1": float("inf")}[norm], dim=1)


@pytest.mark.parametrize(("norm", "solver"), [pair for pair in PAIRS if pair[0] in ("l2", "linf", "l1")])
def test_the_fix_of_a_linear_model_is_as_long_as_the_distance_to_the_hyperplane(norm, solver):
    model, x, y = linear()
    exact = distance(model, x, y, norm)
    config = SmallestFixConfig(norm=norm, solver=solver, budget=200)
    result = smallest_fix(Classifier(model), x, y, config=config)
    assert float(distance(model, x, y, "l1").max()) < 0.4
    assert result.fixed.all()
    assert (result.size >= exact * (1 - 1e-3)).all()
    assert (result.size <= exact * NEAR[norm]).all()
    torch.testing.assert_close(result.linear, exact, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("solver", SOLVERS)
def test_one_pixel_is_found_where_one_pixel_decides(solver):
    if "l0" not in SOLVERS[solver]:
        return
    weights = torch.zeros(2, 48)
    weights[0] = 0.01 * torch.randn(48, generator=torch.Generator().manual_seed(0))
    weights[1, 5] = 8.0  # the other 47 values together cannot do what this one does
    model, x = Linear(weights, torch.tensor([2.0, 0.0])), torch.full((2, 3, 4, 4), 0.1)
    y = torch.ones(2, dtype=torch.int64)
    result = smallest_fix(Classifier(model), x, y, config=SmallestFixConfig(norm="l0", solver=solver, budget=80))
    assert result.fixed.all()
    assert result.l0.tolist() == [1, 1]
    assert (result.change[:, 0, 1, 1] > 0).all()


def test_groups_put_the_change_where_the_group_is_steepest():
    model, x, y = linear(seed=1)
    config = SmallestFixConfig(norm="groups", segments=4, budget=200)
    result = smallest_fix(Classifier(model), x, y, config=config)
    spread = smallest_fix(Classifier(model), x, y, config=SmallestFixConfig(budget=200))
    assert result.fixed.all()
    assert (result.size >= result.linear * (1 - 1e-4)).all()
    assert (result.size <= result.linear * NEAR["groups"]).all()
    assert (result.l0 <= spread.l0).all()
    torch.testing.assert_close(result.groups, result.size)
    assert spread.groups.isnan().all()


@pytest.mark.parametrize("solver", ["fmn", "newton", "superdeepfool"])
def test_the_change_into_a_ball_is_radial(solver):
    centre = torch.full((1, 3, 4, 4), 0.5)
    x = centre + 0.1 * torch.randn((4, 3, 4, 4), generator=torch.Generator().manual_seed(0)).clamp(-3, 3)
    away = (x - centre).flatten(1).norm(dim=1)
    result = smallest_fix(
        Classifier(Ball(centre, 0.5)),
        x,
        torch.zeros(4, dtype=torch.int64),
        config=SmallestFixConfig(solver=solver, budget=120),
    )
    assert (away > 0.5).all()
    assert (result.size >= (away - 0.5) * (1 - 1e-4)).all()
    assert (result.size <= 1.01 * (away - 0.5)).all()


@pytest.mark.parametrize(("norm", "solver"), PAIRS)
@pytest.mark.parametrize("targeted", [False, True])
def test_a_change_reaches_its_goal_inside_the_range_and_the_budget(norm, solver, targeted):
    model, x = SmallNet(), torch.rand((8, 3, 8, 8), generator=torch.Generator().manual_seed(1))
    y = model(x).argmax(1)
    targets = (y + 1) % 5 if targeted else None
    config = SmallestFixConfig(norm=norm, solver=solver, budget=50)
    result = smallest_change(Classifier(model), x, y, targets=targets, config=config)
    assert result.success.all()
    assert float(result.x_adv.min()) >= 0
    assert float(result.x_adv.max()) <= 1
    assert int((result.forwards + result.backwards).max()) <= 50 + 2
    after = model(result.x_adv).argmax(1)
    assert (after == targets).all() if targeted else (after != y).all()


@pytest.mark.parametrize(("norm", "solver"), PAIRS)
def test_a_larger_budget_never_gives_a_larger_change_than_the_first_one_found(norm, solver):
    model, x, y = SmallNet(), torch.rand((8, 3, 8, 8), generator=torch.Generator().manual_seed(2)), None
    y = (model(x).argmax(1) + 1) % 5
    sizes = [
        smallest_fix(Classifier(model), x, y, config=SmallestFixConfig(norm=norm, solver=solver, budget=budget)).size
        for budget in (12, 60)
    ]
    assert (sizes[1] <= sizes[0] * 1.001).float().mean() >= 0.85  # schedules differ, so not for every image
    assert sizes[1].median() < sizes[0].median() * 1.001


@given(seed=st.integers(0, 10_000), pair=st.sampled_from(PAIRS), budget=st.integers(4, 30))
@settings(max_examples=15, deadline=None)
def test_any_image_and_budget_give_a_fix_in_the_range_or_none(seed, pair, budget):
    x = torch.rand((3, 3, 8, 8), generator=torch.Generator().manual_seed(seed)).round(decimals=1)
    model = SmallNet(seed)
    y = (model(x).argmax(1) + 1) % 5
    config = SmallestFixConfig(norm=pair[0], solver=pair[1], budget=budget, quantise=False)
    result = smallest_fix(Classifier(model), x, y, config=config)
    assert ((x + result.delta >= 0) & (x + result.delta <= 1)).all()
    assert (result.forwards + result.backwards <= budget + 1).all()
    for row, word in enumerate(result.status):
        if word == Status.OK:
            assert int(model(x[row : row + 1] + result.delta[row : row + 1]).argmax(1)) == int(y[row])
        else:
            assert word == Status.NO_ANSWER
            assert bool(result.size[row].isnan())


def test_a_fix_of_whole_grey_levels_is_right_and_whole():
    model, x = SmallNet(), torch.rand((8, 3, 8, 8), generator=torch.Generator().manual_seed(3))
    x = (x * 255).round() / 255
    y = (model(x).argmax(1) + 1) % 5
    result = smallest_fix(Classifier(model), x, y)
    assert result.u8_fixed.all()
    whole = result.change_u8
    assert torch.equal(whole, whole.round())
    assert (model(x + whole / 255).argmax(1) == y).all()
    torch.testing.assert_close(result.u8_l2, (whole / 255).flatten(1).norm(dim=1))
    plain = smallest_fix(Classifier(model), x, y, config=SmallestFixConfig(quantise=False))
    assert not plain.u8_fixed.any()
    assert plain.change_u8.isnan().all()
    assert torch.equal(plain.change, result.change)


def test_an_error_that_no_change_can_fix_has_no_answer():
    model = Linear(torch.zeros(2, 48), torch.tensor([1.0, 0.0]))
    model.weights.data[1, 0] = 1e-3
    x, y = torch.full((1, 3, 4, 4), 0.5), torch.ones(1, dtype=torch.int64)
    result = smallest_fix(Classifier(model), x, y)
    assert result.status == [Status.NO_ANSWER]
    assert result.size.isnan().all()
    assert result.linear.isinf().all()
    assert float(result.delta.abs().max()) == 0


def test_rows_that_are_not_asked_for_are_skipped_and_right_ones_are_left_alone():
    model, x, y = linear(classes=3)
    y[0] = model(x).argmax(1)[0]
    detail = torch.arange(6) != 1
    result = smallest_fix(Classifier(model), x, y, detail=detail)
    assert result.status[:2] == [Status.ALREADY_CORRECT, Status.SKIPPED]
    assert result.forwards[:2].tolist() == [1, 0]
    assert result.fixed[2:].all()


def test_the_estimate_of_groups_is_margin_over_the_steepest_group():
    from whywrong.attacks.balls import Box
    from whywrong.attacks.inverted.margin_oracle import MarginOracle
    from whywrong.attacks.minimal.geometry import Geometry

    model, x, y = linear()
    rows = torch.arange(6)
    start = MarginOracle(Classifier(model), y, 1e-5).linearise(rows, x)
    blocks = torch.arange(4).repeat_interleave(4).view(1, 4, 4).expand(6, 4, 4).contiguous()
    found = linear_estimate(start, Box(x, 1.0), Geometry("groups", blocks, 4))
    torch.testing.assert_close(found, distance(model, x, y, "groups"), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("settings_", "words"),
    [
        ({"norm": "l3"}, "norm must be one of l2, linf, l1, l0, groups"),
        ({"solver": "magic"}, "solver must be one of auto, newton"),
        ({"norm": "l1", "solver": "newton"}, "does not minimise l1; solvers that do: auto, fmn"),
        ({"budget": 3}, "budget must be at least 4 passes, got 3"),
        ({"safety": 0.1}, "safety must be in"),
        ({"segments": 0}, "segments must be in"),
    ],
)
def test_a_wrong_setting_is_refused(settings_, words):
    with pytest.raises(InputError, match=words):
        SmallestFixConfig(**settings_)
