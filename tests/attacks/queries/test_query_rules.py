"""What each query attack owes its caller, whatever the algorithm."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.attacks.queries.black_boxes import Asked, errors

from whywrong.attacks.queries import (
    AnswerMemory,
    HopSkipJumpConfig,
    LengthSearchConfig,
    PatternSearchConfig,
    PriorGradientConfig,
    SimbaConfig,
    SquareConfig,
    hop_skip_jump,
    length_search,
    pattern_search,
    prior_gradient,
    simba,
    square,
)
from whywrong.attacks.queries.grid import GreyBall, on_grid
from whywrong.core.errors import InputError
from whywrong.core.status import Status
from whywrong.models.classifier import Classifier

BATCH = 6
KEYS = torch.arange(50, 50 + BATCH)
NET, X, Y = errors(BATCH, seed=2)
DIRECTIONS = X.flip(0)[:, None] - 0.5
START = (X - 0.5).abs()


def run(attack: str, net: Any, rows: Any = slice(None), x: Any = None, **options: Any) -> Any:
    x = X if x is None else x
    classifier = net if isinstance(net, Classifier) else Classifier(net)
    given: dict[str, Any] = {"keys": KEYS[rows], **options}
    y = Y[rows]
    if attack == "square":
        return square(classifier, x[rows], y, config=SquareConfig(eps=8 / 255, queries=25), **given)
    if attack == "square_l2":
        return square(classifier, x[rows], y, config=SquareConfig(norm="l2", eps=0.4, queries=25), **given)
    if attack == "simba":
        return simba(classifier, x[rows], y, config=SimbaConfig(queries=25), **given)
    if attack == "prior_gradient":
        config = PriorGradientConfig(eps=8 / 255, queries=25, probes=3)
        return prior_gradient(classifier, x[rows], y, DIRECTIONS[rows][:, 0], config=config, **given)
    if attack == "length_search":
        return length_search(classifier, x[rows], y, DIRECTIONS[rows], config=LengthSearchConfig(refine=3), **given)
    if attack == "pattern_search":
        config = PatternSearchConfig(eps=8 / 255, queries=25)
        return pattern_search(classifier, x[rows], y, config=config, **given)
    config = HopSkipJumpConfig(queries=60, probes=8, stop_early=False, eps=5.0)
    return hop_skip_jump(classifier, x[rows], y, config=config, start=START[rows], **given)


ATTACKS = ("square", "square_l2", "simba", "prior_gradient", "length_search", "pattern_search", "hop_skip_jump")


@pytest.fixture(params=ATTACKS)
def attack(request: pytest.FixtureRequest) -> str:
    return request.param


@given(order=st.permutations(range(BATCH)), cut=st.integers(1, BATCH - 1), attack=st.sampled_from(ATTACKS))
@settings(max_examples=6)
def test_the_answer_depends_on_no_order_and_no_neighbour(order, cut, attack):
    whole = run(attack, NET)
    parts = [run(attack, NET, torch.tensor(rows)) for rows in (order[:cut], order[cut:])]
    back = torch.tensor(order).argsort()
    for field in dataclasses.fields(whole):
        if field.name in ("status", "reason"):
            joined = [word for part in parts for word in getattr(part, field.name)]
            assert list(getattr(whole, field.name)) == [joined[place] for place in back.tolist()]
            continue
        joined = torch.cat([getattr(part, field.name) for part in parts])[back]
        torch.testing.assert_close(getattr(whole, field.name), joined, rtol=1e-4, atol=1e-4, equal_nan=True)


def test_every_image_is_counted_asked_once_and_of_whole_grey_levels(attack):
    asked = Asked(NET)
    before = X.clone()
    result = run(attack, asked)
    assert len(asked.images) == int(result.forwards.sum()) == BATCH + int(result.queries.sum())
    assert len(asked.grid.unique(dim=0)) == len(asked.images)
    assert torch.equal(on_grid(asked.grid), asked.grid)
    assert torch.equal(X, before)
    assert int(result.backwards.sum()) == 0
    assert [status == Status.OK for status in result.status] == result.found.tolist()
    assert result.to_arrow().num_rows == BATCH


def test_known_answers_of_the_images_are_not_asked_again(attack):
    with torch.no_grad():
        known = NET(X)
    asked = Asked(NET)
    result = run(attack, asked, known=known)
    assert len(asked.images) == int(result.forwards.sum()) == int(result.queries.sum())
    assert not any((asked.grid == one).flatten(1).all(1).any() for one in X)
    assert torch.equal(result.image, run(attack, NET).image)
    with pytest.raises(InputError, match="known must be"):
        run(attack, NET, known=known[:2])


def test_a_second_attack_with_the_same_memory_asks_nothing_again(attack):
    memory = AnswerMemory()
    first = run(attack, NET, memory=memory)
    assert len(memory) == int(first.forwards.sum())
    with torch.no_grad():
        known = NET(X)
    asked = Asked(NET)
    second = run(attack, asked, memory=memory, known=known)
    # What stopped at its budget may go on, with new images only.
    assert set(second.queries[first.found].tolist()) <= {0} or attack == "hop_skip_jump"
    assert len(asked.images) == int(second.queries.sum())


def test_an_image_that_is_right_costs_no_query_and_bad_pixels_no_pass(attack):
    x = X.clone()
    x[0], x[1, 0, 0, 0] = torch.nan, 2.0
    with torch.no_grad():
        right = NET(X).argmax(1)
    result = run(attack, NET, x=x)
    assert list(result.status[:2]) == [Status.BAD_INPUT] * 2
    assert result.forwards[:2].tolist() == [0, 0]
    assert not result.found[:2].any()
    y = Y.clone()
    Y[3] = right[3]
    try:
        result = run(attack, NET)
    finally:
        Y.copy_(y)
    assert result.status[3] == Status.ALREADY_CORRECT
    assert (int(result.queries[3]), bool(result.found[3]), float(result.l2[3])) == (0, True, 0.0)


def test_an_empty_batch_gives_an_empty_result(attack):
    result = run(attack, NET, torch.zeros(0, dtype=torch.int64))
    assert result.image.shape == (0, 3, 8, 8)
    assert result.to_arrow().num_rows == 0


def test_without_a_target_any_other_class_is_the_goal():
    with torch.no_grad():
        right = NET(X).argmax(1)
    result = square(Classifier(NET), X, right, config=SquareConfig(eps=24 / 255, queries=100, targeted=False))
    assert result.found.float().mean() > 0.8
    with torch.no_grad():
        assert torch.equal(NET(result.image).argmax(1) != right, result.found)


@given(seed=st.integers(0, 1000), eps=st.floats(1 / 255, 1.0), norm=st.sampled_from(["linf", "l2"]))
@settings(max_examples=25)
def test_the_nearest_image_of_a_ball_is_in_it_and_has_whole_grey_levels(seed, eps, norm):
    draw = torch.Generator().manual_seed(seed)
    ball = GreyBall(on_grid(torch.rand((4, 3, 6, 6), generator=draw)), eps, norm)
    found = ball.nearest(ball.x + torch.randn((4, 3, 6, 6), generator=draw))
    assert torch.equal(on_grid(found), found)
    change = (found - ball.x).double().flatten(1)
    size = change.abs().amax(1) if norm == "linf" else change.norm(dim=1)
    assert float(size.max()) <= eps * (1 + 1e-5)
    inside = on_grid(ball.x + 0.0)
    assert torch.equal(ball.nearest(inside), inside)
