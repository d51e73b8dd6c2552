"""The method signs: costs, access, bad input, and what must leave a sign as it is."""

from __future__ import annotations

import functools
import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.contract.nets import build, images
from torch import Tensor, nn

from whywrong.core.access import Access
from whywrong.core.errors import InputError
from whywrong.core.status import Status
from whywrong.explain.signs import SIGNS, STAGES, SignsConfig, SignsResult, absent, sign_matrix, signs
from whywrong.models.classifier import Classifier

KEYS = torch.arange(50, 56)
COST = {
    "pixels": (0, 0),
    "scores": (1, 0),
    "survival": (24, 0),
    "gradient": (1, 1),
    "crops": (12, 0),
    "windows": (50, 0),
}


def errors(net: nn.Module, batch: int = 6) -> tuple[Tensor, Tensor]:
    """Images with their runner-up as the label."""
    x = images(batch, seed=1)
    with torch.no_grad():
        return x, net(x).argsort(1, descending=True)[:, 1]


@functools.cache
def reference() -> SignsResult:
    """All signs of the smallest net, which other ways of measuring must give as well."""
    return measured()


def measured(net: nn.Module | None = None, **options: Any) -> SignsResult:
    net = net or build("gap")
    x, y = errors(net)
    return signs(Classifier(net), x, y, keys=KEYS, **options)


class Scaled(nn.Module):
    """A net with its logits times a number, in another order of classes."""

    def __init__(self, net: nn.Module, factor: float = 1.0, order: tuple[int, ...] = (0, 1, 2, 3)) -> None:
        super().__init__()
        self.net, self.factor, self.order = net, factor, list(order)

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * self.net(x)[:, self.order]


class Linear(nn.Module):
    """Logits that are weighted sums of pixels."""

    def __init__(self, classes: int = 2, channels: int = 3, side: int = 16) -> None:
        super().__init__()
        weights = torch.randn(classes, channels * side * side, generator=torch.Generator().manual_seed(0))
        self.weight = nn.Parameter(weights)

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight.T


def test_names_are_unique_and_every_sign_belongs_to_a_stage() -> None:
    names = [sign.name for sign in SIGNS]
    assert len(set(names)) == len(names) > 90
    assert {sign.stage for sign in SIGNS} == set(STAGES)
    assert all(sign.doc.endswith(".") and len(sign.doc) > 8 for sign in SIGNS)


def test_every_sign_is_measured_with_full_access_and_enough_classes() -> None:
    class Six(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = Linear(classes=6)

        def forward(self, x: Tensor) -> Tensor:
            return self.net(x)

    result = measured(Six())
    missing = [sign.name for sign, column in zip(SIGNS, sign_matrix(result).T, strict=True) if column.isnan().all()]
    assert missing == []


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_costs_what_it_says_and_fills_its_own_signs_only(stage: str) -> None:
    result = measured(config=SignsConfig(stages=(stage,)))
    forwards, backwards = COST[stage]
    assert result.forwards.tolist() == [forwards] * 6
    assert result.backwards.tolist() == [backwards] * 6
    filled = {sign.stage for sign, column in zip(SIGNS, sign_matrix(result).T, strict=True) if not column.isnan().all()}
    assert filled == {stage}


def test_stored_logits_save_the_first_pass_and_change_no_sign() -> None:
    net = build("gap")
    x, y = errors(net)
    config = SignsConfig(stages=("scores", "crops"))
    plain = signs(Classifier(net), x, y, keys=KEYS, config=config)
    saved = signs(Classifier(net), x, y, keys=KEYS, config=config, logits=net(x).detach())
    assert (plain.forwards - saved.forwards).tolist() == [1] * 6
    torch.testing.assert_close(sign_matrix(plain), sign_matrix(saved), equal_nan=True, atol=1e-4, rtol=1e-4)


def test_stored_logits_of_another_batch_are_refused() -> None:
    with pytest.raises(InputError, match=r"logits must be a floating-point tensor \(6, K\)"):
        measured(logits=torch.zeros(5, 4))


def test_answers_alone_give_pixels_and_shares() -> None:
    net = build("gap")
    x, y = errors(net)
    result = signs(Classifier(net, access=Access.LABELS), x, y, keys=KEYS)
    full = reference()
    assert result.forwards.tolist() == [1 + 23 + 11 + 49] * 6
    for sign, column, due in zip(SIGNS, sign_matrix(result).T, sign_matrix(full).T, strict=True):
        if sign.access == Access.LABELS:
            torch.testing.assert_close(column, due, equal_nan=True)
        else:
            assert column.isnan().all(), sign.name


def test_scaled_logits_scale_logit_signs_and_leave_shares() -> None:
    one, ten = reference(), measured(Scaled(build("gap"), 10.0))
    answers = ("_kept", "_third", "_any", "_second", "_top5", "_share", "concentration", "survival_label")
    for sign, before, after in zip(SIGNS, sign_matrix(one).T, sign_matrix(ten).T, strict=True):
        if sign.kind == "logit":
            torch.testing.assert_close(after, 10 * before, rtol=1e-3, atol=1e-3, msg=sign.name, equal_nan=True)
        elif sign.stage == "pixels" or (sign.kind == "share" and sign.name.endswith(answers)):
            torch.testing.assert_close(after, before, rtol=1e-3, atol=1e-4, msg=sign.name, equal_nan=True)


def test_exchanged_classes_leave_all_signs() -> None:
    torch.testing.assert_close(
        sign_matrix(reference()),
        sign_matrix(measured(Scaled(build("gap"), order=(2, 0, 3, 1)))),
        rtol=1e-3,
        atol=1e-4,
        equal_nan=True,
    )


@settings(max_examples=3, deadline=None)
@given(order=st.permutations(range(6)), size=st.integers(1, 6), batch_size=st.sampled_from([1, 4, 64]))
def test_signs_depend_neither_on_order_nor_on_batches(order: list[int], size: int, batch_size: int) -> None:
    net, rows = build("gap"), torch.tensor(order[:size])
    x, y = errors(net)
    part = signs(Classifier(net, batch_size=batch_size), x[rows], y[rows], keys=KEYS[rows])
    torch.testing.assert_close(sign_matrix(part), sign_matrix(reference())[rows], rtol=1e-3, atol=1e-4, equal_nan=True)


def test_an_image_that_is_right_is_not_measured() -> None:
    net = build("gap")
    x, y = errors(net)
    y[2] = net(x[2:3]).argmax()
    result = signs(Classifier(net), x, y, keys=KEYS)
    assert result.status[2] == Status.ALREADY_CORRECT
    assert bool(sign_matrix(result)[2].isnan().all())
    assert result.forwards[2] == 1


def test_two_classes_leave_out_what_needs_a_third() -> None:
    result = measured(Linear())
    absent_here = {sign.name for sign in SIGNS if result[sign.name].isnan().all()}
    assert absent_here == {sign.name for sign in SIGNS if sign.least_classes > 2}
    assert "label_second" in absent_here


def test_grey_images_leave_out_colour_and_one_edit() -> None:
    net = Linear(classes=6, channels=1)
    x = images(6, seed=1)[:, :1]
    y = net(x).argsort(1, descending=True)[:, 1]
    result = signs(Classifier(net), x, y)
    absent_here = {sign.name for sign in SIGNS if result[sign.name].isnan().all()}
    assert absent_here == {sign.name for sign in SIGNS if sign.colour}
    assert result.forwards.tolist() == [1 + 22 + 11 + 49] * 6


def test_small_images_leave_out_places_and_windows() -> None:
    net = Linear(classes=6, side=12)
    x = images(6, seed=1)[..., :12, :12]
    y = net(x).argsort(1, descending=True)[:, 1]
    result = signs(Classifier(net), x, y)
    absent_here = {sign.name for sign in SIGNS if result[sign.name].isnan().all()}
    assert absent_here == {sign.name for sign in SIGNS if sign.least_side > 12}
    assert result.forwards.tolist() == [1 + 23 + 11] * 6


def test_absence_is_explained() -> None:
    by_name = {sign.name: sign for sign in SIGNS}
    size = (3, 32, 32)
    assert absent(by_name["margin"], Access.LABELS, size, 10) == "needs access to SCORES, this classifier grants LABELS"
    assert absent(by_name["saturation"], Access.SCORES, (1, 32, 32), 10) == "needs images of 3 channels, these have 1"
    assert "at least 16 pixels a side, these have 12" in absent(by_name["window_any"], Access.SCORES, (3, 12, 20), 10)
    assert (
        absent(by_name["label_second"], Access.SCORES, size, 2) == "needs a model of at least 3 classes, this one has 2"
    )
    assert all(absent(sign, Access.INTERNALS, size, 10) == "" for sign in SIGNS)


def test_edits_left_out_cost_nothing() -> None:
    result = measured(config=SignsConfig(stages=("survival",), left_out=("flip", "grey")))
    assert result.forwards.tolist() == [1 + 21] * 6
    assert bool(result["survival_flip"].isnan().all())
    assert not result["survival_geometric_mean"].isnan().any()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"stages": ()}, "stages must be some of"),
        ({"stages": ("pixel",)}, "stages must be some of"),
        ({"left_out": ("flop",)}, "left_out must be some of"),
    ],
)
def test_unknown_settings_are_refused(wrong: dict[str, tuple[str, ...]], said: str) -> None:
    with pytest.raises(InputError, match=said):
        SignsConfig(**wrong)


def test_the_gradient_signs_of_a_linear_model_are_closed_forms() -> None:
    net = Linear()
    result = measured(net, config=SignsConfig(stages=("gradient", "scores")))
    normal = (net.weight[0] - net.weight[1]).detach()
    torch.testing.assert_close(result["gradient_log_l2"], (result["margin"] / normal.norm()).log())
    torch.testing.assert_close(result["gradient_log_l1"], (result["margin"] / normal.abs().sum()).log())


class Corner(nn.Module):
    """Class 1 if the first quarter of both sides is bright, otherwise class 0; class 2 never."""

    def forward(self, x: Tensor) -> Tensor:
        bright = x[..., :8, :8].mean((1, 2, 3)) * 20 - 10
        return torch.stack([-bright, bright, bright - bright - 99], 1)


def test_the_window_that_carries_the_prediction_is_found() -> None:
    x = torch.zeros(1, 3, 32, 32)
    x[..., :8, :8] = 1.0
    result = signs(Classifier(Corner()), x, torch.tensor([0]), config=SignsConfig(stages=("windows", "scores")))
    assert result.window.tolist() == [0]
    assert float(result["window_best"]) == pytest.approx(2 * float(result["margin"]), rel=0.01)
    assert float(result["window_label"]) == pytest.approx(1 / 49)
    assert float(result["window_any"]) == 1.0
    assert float(result["window_distance"]) == pytest.approx(0.75)


class Halves(nn.Module):
    """Class 0 by red, class 1 by green, class 2 by neither."""

    def forward(self, x: Tensor) -> Tensor:
        return 20 * torch.stack([x[:, 0].mean((1, 2)), x[:, 1].mean((1, 2)), x[:, 2].mean((1, 2)) + 0.1], 1)


def test_two_objects_in_different_parts_are_noticed() -> None:
    x = torch.zeros(2, 3, 32, 32)
    x[0, 0, :, :17], x[0, 1, :, 17:] = 1.0, 1.0
    x[1, 0] = 1.0
    result = signs(Classifier(Halves()), x, torch.tensor([1, 1]), config=SignsConfig(stages=("crops",)))
    assert result["two_objects"].tolist() == [1.0, 0.0]
    assert float(result["two_objects_least"][0]) > 0.9


def test_scores_of_a_known_answer_are_right() -> None:
    class Fixed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.tensor([3.0, 1.0, 2.0, 0.0]).expand(len(x), 4) + 0 * x.mean((1, 2, 3))[:, None]

    result = signs(Classifier(Fixed()), images(1, seed=0), torch.tensor([1]), config=SignsConfig(stages=("scores",)))
    odds = math.log(math.exp(3) / (math.exp(1) + math.exp(2) + 1))
    total = math.log(sum(math.exp(z) for z in range(4)))
    due = {"margin": 2.0, "second_gap": 1.0, "log_odds_predicted": odds, "energy": total, "log_p_label": 1 - total}
    due |= {"log_rank_label": math.log(3), "log_rank_share": math.log(3) / math.log(4), "label_second": 0.0}
    for name, value in due.items():
        assert float(result[name]) == pytest.approx(value, rel=1e-5), name
