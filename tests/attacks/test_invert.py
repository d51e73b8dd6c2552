"""The inverted attack on classifiers whose smallest fixes are known, and what must hold on any."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.attacks.attack_nets import Ball, Linear, SmallNet

from whywrong.attacks.inverted import InvertedConfig, InvertedResult, invert
from whywrong.core.access import Access
from whywrong.core.errors import AccessError, InputError
from whywrong.core.margins import error_margin
from whywrong.models.classifier import Classifier

SHAPE = (3, 8, 8)


def run(classifier: Classifier, x, y, **settings) -> InvertedResult:
    nothing = torch.zeros(len(x), dtype=torch.bool)
    return invert(classifier, x, y, detail=nothing, config=InvertedConfig(**settings))


def statuses(result: InvertedResult) -> list[str]:
    return list(result.status)


def linear_case(seed: int = 0, batch: int = 8):
    """A linear net and images well inside the box that it gets wrong, by little enough to stay inside."""
    draw = torch.Generator().manual_seed(seed)
    weights = torch.randn((2, 192), generator=draw)
    x = 0.4 + 0.2 * torch.rand((batch, *SHAPE), generator=draw)
    classifier = Classifier(Linear(weights, torch.zeros(2)))
    y = classifier.logits(x).argsort(1)[:, -2]
    w = weights[1 - y] - weights[y]
    far = error_margin(classifier.logits(x), y) - 0.1 * w.abs().amax(1)  # one pixel alone can bridge what is left
    return classifier, weights, x - ((far / w.square().sum(1))[:, None] * w).view_as(x), y


def errors(seed: int = 0, batch: int = 12):
    """Images that the small net gets wrong."""
    draw = torch.Generator().manual_seed(100 + seed)
    x = (torch.rand((batch, *SHAPE), generator=draw) * 255).round() / 255
    classifier = Classifier(SmallNet(seed))
    y = (classifier.predict(x) + 1 + torch.arange(batch) % 4) % 5
    return classifier, x, y


@pytest.mark.parametrize(("norm", "dual"), [("l2", 2), ("linf", 1), ("l1", math.inf)], ids=["l2", "linf", "l1"])
def test_on_a_linear_net_of_two_classes_the_fix_has_the_closed_form_distance(norm, dual):
    classifier, weights, x, y = linear_case()
    result = run(classifier, x, y, norm=norm)
    w = torch.where(y[:, None] == 0, weights[1] - weights[0], weights[0] - weights[1])
    expected = result.margin_before / w.norm(p=dual, dim=1)
    torch.testing.assert_close(getattr(result, norm), expected, rtol=0.01, atol=0)
    assert (getattr(result, norm) >= expected * (1 - 1e-4)).all()
    assert result.q_candidates.tolist() == [1] * len(x)
    torch.testing.assert_close(result.rho_lin_l2, result.margin_before / w.norm(dim=1))
    torch.testing.assert_close(result.rho_lin_linf, result.margin_before / w.norm(p=1, dim=1))


def test_without_overshoot_one_candidate_reaches_the_boundary_of_a_linear_net():
    classifier, _, x, y = linear_case()
    result = run(classifier, x, y, overshoot=0.0, polish=0, polish_other=0, tighten=0)
    assert result.q_candidates.tolist() == [1] * len(x)
    assert (result.margin_after < 0).all()
    assert (result.margin_after.abs() < 1e-3 * result.margin_before).all()


def test_two_rivals_at_once_are_beaten_in_one_step_and_one_by_one_in_more():
    weights = torch.zeros(3, 192)
    weights[1, 0], weights[1, 1] = 1.0, -0.5  # going down for one rival goes up for the other
    weights[2, 0], weights[2, 1] = -0.5, 1.0
    classifier = Classifier(Linear(weights, torch.tensor([0.25, 0.01, 0.009])))
    x = torch.full((1, *SHAPE), 0.5)
    y = torch.tensor([0])
    assert run(classifier, x, y, rivals=2, overshoot=0.1).q_candidates.tolist() == [1]
    assert int(run(classifier, x, y, rivals=1, overshoot=0.1).q_candidates) >= 2


@pytest.mark.parametrize("norm", ["l2", "linf", "l1", "l0"])
def test_an_error_that_no_image_can_mend_is_not_fixed(norm):
    classifier = Classifier(Linear(torch.ones(2, 192) * torch.tensor([[0.0], [1e-3]]), torch.tensor([0.0, 5.0])))
    result = run(classifier, torch.full((2, *SHAPE), 0.5), torch.tensor([0, 0]), norm=norm)
    assert statuses(result) == ["no_answer"] * 2
    assert not result.delta.any()
    assert result.rho_l2.isnan().all()
    assert result.rho_lin_l2.isinf().all()


def test_the_fix_of_a_ball_lies_on_its_surface():
    centre = torch.full(SHAPE, 0.5)
    classifier = Classifier(Ball(centre, 0.2))
    draw = torch.Generator().manual_seed(0)
    x = centre + 0.05 * torch.randn((6, *SHAPE), generator=draw)
    result = run(classifier, x, torch.zeros(6, dtype=torch.int64))
    expected = (x - centre).flatten(1).norm(dim=1) - 0.2
    torch.testing.assert_close(result.rho_l2, expected, rtol=0.01, atol=0)


def test_a_single_deciding_pixel_is_the_l0_fix():
    weights = torch.zeros(2, 192)
    weights[0, 5] = 4.0
    classifier = Classifier(Linear(weights, torch.tensor([0.0, 1.5])))
    result = run(classifier, torch.full((1, *SHAPE), 0.2), torch.tensor([0]), norm="l0")
    assert result.l0.tolist() == [1]
    assert (result.delta.flatten(1) != 0).nonzero().tolist() == [[0, 5]]


@pytest.mark.parametrize("settings", [{}, {"norm": "linf"}, {"norm": "l1"}, {"norm": "l0"}, {"attack": "sign"}])
def test_every_fix_is_right_inside_the_box_and_fully_counted(settings):
    classifier, x, y = errors()
    before = classifier.forwards, classifier.backwards
    result = run(classifier, x, y, **settings)
    assert classifier.forwards - before[0] == int(result.forwards.sum())
    assert classifier.backwards - before[1] == int(result.backwards.sum())
    assert statuses(result) == ["ok"] * len(x)
    fix = x + result.delta
    assert ((fix >= 0) & (fix <= 1)).all()
    torch.testing.assert_close(error_margin(classifier.logits(fix), y), result.margin_after, rtol=1e-3, atol=1e-5)
    assert (result.margin_after < 0).all()
    assert not result.unstable.any()
    assert result.u8_fixed.all()
    assert (classifier.predict(result.fix_u8.float() / 255) == y).all()
    assert (result.rho_l2 <= result.l2).all()
    assert (result.rho_linf <= result.linf).all()
    assert (result.rho_linf <= result.rho_l2).all()


def test_shrinking_never_makes_a_fix_larger():
    classifier, x, y = errors(1)
    long = run(classifier, x, y, polish=0, polish_other=0, tighten=0)
    assert (run(classifier, x, y).l2 <= long.l2).all()


def test_the_growing_step_uses_one_gradient():
    classifier, x, y = errors()
    result = run(classifier, x, y, attack="one_gradient", quantise=False)
    assert result.backwards.tolist() == [1] * len(x)
    wrong_at_last = result.forwards - 1 - result.q_candidates  # the re-test of a fix
    assert (wrong_at_last == result.fixed.long()).all()


def test_the_sign_attack_stays_on_the_grey_levels():
    classifier, x, y = errors()
    result = run(classifier, x, y, attack="sign")
    levels = (x + result.delta) * 255
    torch.testing.assert_close(levels, levels.round(), rtol=0, atol=1e-3)


@pytest.mark.parametrize("attack", ["sign", "one_gradient"])
def test_a_fix_five_steps_away_takes_five_candidates_and_four_do_not_reach_it(attack):
    weights = torch.ones(2, 192)
    weights[1] = -1
    a_step = 2 * 192 / 255  # what 1/255 on every pixel takes off the margin
    classifier = Classifier(Linear(weights, torch.tensor([4.5 * a_step, 192 * 2 * 128 / 255])))
    x, y = torch.full((1, *SHAPE), 128 / 255), torch.tensor([1])
    reached, short = (run(classifier, x, y, attack=attack, step_size=1 / 255, steps=steps) for steps in (5, 4))
    assert (reached.q_candidates.tolist(), statuses(reached)) == ([5], ["ok"])
    assert (short.q_candidates.tolist(), short.fixed.tolist()) == ([4], [False])


def test_without_a_budget_nothing_is_sent_and_nothing_fixed():
    classifier, x, y = errors()
    result = run(classifier, x, y, budget=0)
    assert result.q_candidates.tolist() == [0] * len(x)
    assert result.forwards.tolist() == [1] * len(x)  # the original image, whose prediction is not a candidate
    assert statuses(result) == ["no_answer"] * len(x)


def test_more_budget_never_fixes_less():
    classifier, x, y = errors(2)
    fixed = [run(classifier, x, y, budget=b, overshoot=0.0, rivals=1).fixed for b in (1, 2, 4, 30)]
    for fewer, more in itertools.pairwise(fixed):
        assert (more | ~fewer).all()
    assert fixed[-1].all()


def test_a_radius_bounds_every_pixel():
    classifier, x, y = errors()
    free = run(classifier, x, y).linf
    radius = float(free.median())
    result = run(classifier, x, y, radius=radius)
    assert (result.linf <= radius * (1 + 1e-5)).all()
    assert result.fixed.any()


def test_right_images_and_bad_pixels_are_told_apart():
    classifier, x, y = errors(batch=4)
    y[1] = classifier.predict(x)[1]
    x[2, 0, 0, 0] = torch.nan
    x[3, 0, 0, 0] = 1.5
    result = run(classifier, x, y)
    assert statuses(result) == ["ok", "already_correct", "bad_input", "bad_input"]
    assert result.q_candidates.tolist()[1:] == [0, 0, 0]
    assert result.forwards.tolist()[1:] == [1, 0, 0]
    assert not result.delta[1:].any()


def test_a_batch_of_none_gives_a_table_of_none():
    classifier, x, y = errors(batch=1)
    classifier.predict(x)
    result = run(classifier, x[:0], y[:0])
    assert result.to_arrow().num_rows == 0


def test_rows_do_not_depend_on_their_neighbours():
    classifier, x, y = errors(3, batch=11)
    whole = run(classifier, x, y)
    order = torch.randperm(11, generator=torch.Generator().manual_seed(0))
    shuffled = run(classifier, x[order], y[order])
    torch.testing.assert_close(shuffled.delta, whole.delta[order], rtol=0.01, atol=1e-6)
    for row in range(0, 11, 5):
        alone = run(classifier, x[row : row + 1], y[row : row + 1])
        torch.testing.assert_close(alone.delta[0], whole.delta[row], rtol=0.01, atol=1e-6)
        assert int(alone.q_candidates) == int(whole.q_candidates[row])
        assert int(alone.forwards) == int(whole.forwards[row])


def test_a_second_call_gives_the_same_bits():
    classifier, x, y = errors(4)
    first, second = run(classifier, x, y), run(classifier, x, y)
    assert torch.equal(first.delta, second.delta)
    assert torch.equal(first.fix_u8, second.fix_u8)


@given(seed=st.integers(0, 50), scale=st.sampled_from([0.01, 1.0, 64.0]))
@settings(max_examples=4, deadline=None)
def test_names_and_scale_of_the_classes_do_not_matter(seed, scale):
    classifier, x, y = errors(seed, batch=6)
    before = run(classifier, x, y)
    net = SmallNet(seed)
    order = torch.randperm(5, generator=torch.Generator().manual_seed(seed))
    net.second.data = scale * net.second.data[order]
    after = run(Classifier(net), x, order.argsort()[y])
    torch.testing.assert_close(after.l2, before.l2, rtol=0.01, atol=1e-6)
    assert torch.equal(after.q_candidates, before.q_candidates)


@pytest.mark.parametrize(
    "settings",
    [
        {"norm": "l3"},
        {"attack": "pgd"},
        {"overshoot": -0.1},
        {"radius": 8.0},
        {"rounds": -1},
        {"budget": -1},
        {"rivals": 6},
        {"safety": 0.0},
    ],
)
def test_a_setting_out_of_range_is_refused(settings):
    with pytest.raises(InputError):
        InvertedConfig(**settings)


def test_what_breaks_the_contract_is_refused():
    classifier, x, y = errors(batch=2)
    classifier.predict(x)
    with pytest.raises(InputError):
        run(classifier, (x * 255).to(torch.uint8), y)
    with pytest.raises(InputError, match=r"outside 0\.\.4"):
        run(classifier, x, torch.tensor([0, 5]))
    with pytest.raises(InputError, match="masks"):
        invert(classifier, x, y, masks=torch.zeros(2, 4, 4, dtype=torch.bool))
    with pytest.raises(AccessError):
        run(Classifier(SmallNet(), access=Access.SCORES), x, y)


def test_the_table_keeps_its_types_when_nothing_is_explained():
    classifier, x, y = errors(batch=3)
    table = run(classifier, x, y).to_arrow()
    assert table.schema == InvertedResult.schema()
    assert table["region_area"].null_count == 3


def test_explained_rows_are_scattered_into_the_table():
    classifier, x, y = errors(batch=4)
    detail = torch.tensor([False, True, False, True])
    before = classifier.forwards, classifier.backwards
    result = invert(classifier, x, y, detail=detail)
    assert classifier.forwards - before[0] == int(result.forwards.sum())
    assert classifier.backwards - before[1] == int(result.backwards.sum())
    regions = result.to_arrow()["region_fixed"].to_pylist()
    assert [region is not None for region in regions] == detail.tolist()
    contribution = result.maps()["contribution"]
    assert contribution[~detail].isnan().all()
    assert contribution[detail].isfinite().all()
    assert result.maps()["fix_u8"][~detail].isnan().all()
