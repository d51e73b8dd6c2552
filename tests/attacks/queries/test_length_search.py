"""Lengths of given directions against the crossings of a linear model."""

from __future__ import annotations

import pytest
import torch
from tests.attacks.queries.black_boxes import Asked, errors
from tests.attacks.queries.test_hop_skip_jump import linear
from torch import Tensor

from whywrong.attacks.queries.length_search import LengthSearchConfig, length_search
from whywrong.core.errors import InputError
from whywrong.models.classifier import Classifier


def slopes(net, n: int) -> Tensor:
    return (net.weights[1] - net.weights[0]).detach().view(1, 1, 3, 4, 4).expand(n, 1, 3, 4, 4)


def test_bisection_finds_the_length_at_which_a_linear_model_turns():
    net, x, y, _, distance = linear(4)
    config = LengthSearchConfig(norm="l2", eps=2.0, lengths=tuple(range(40, 500, 40)), refine=8)
    result = length_search(Classifier(net), x, y, slopes(net, 4), config=config)
    assert result.found.all()
    assert torch.equal(result.direction, torch.zeros(4, dtype=torch.int64))
    ratio = (result.l2 / distance).detach()
    assert (ratio >= 1 - 1e-3).all()
    assert ratio.max() < 1.03
    expected = [int(d * 255 // 40) + 1 + 8 for d in distance.tolist()]
    assert all(spent <= most for spent, most in zip(result.queries.tolist(), expected, strict=True))


def test_lengths_are_tried_in_order_and_the_first_that_is_right_ends_the_search():
    net, x, y, _, _ = linear(2)
    slope = slopes(net, 2)
    asked = Asked(net)
    config = LengthSearchConfig(lengths=(2, 5, 200), eps=100 / 255)
    away = torch.cat([-slope, torch.zeros_like(slope), slope], 1)
    result = length_search(Classifier(asked), x, y, away, config=config)
    assert result.direction.tolist() == [2, 2]
    changes = ((asked.grid[2:] - x.repeat(len(asked.images) // 2 - 1, 1, 1, 1)) * 255).abs().flatten(1).amax(1)
    # Both directions, each with its lengths and the radius, until one is right; the zero costs nothing.
    assert changes[:12:2].round().tolist() == pytest.approx([2, 5, 100, 2, 5, 100], abs=1)
    assert result.queries.tolist() == [6, 6]


@pytest.mark.parametrize("queries", [0, 1, 3])
def test_no_budget_is_exceeded(queries):
    net, x, y, _, _ = linear(3)
    asked = Asked(net)
    config = LengthSearchConfig(lengths=(1, 2, 3), eps=4 / 255, queries=queries)
    result = length_search(Classifier(asked), x, y, -slopes(net, 3), config=config)
    assert result.queries.tolist() == [queries] * 3
    assert len(asked.images) == (3 + 3 * queries if queries else 0)


@pytest.mark.parametrize(
    ("directions", "words"),
    [
        (torch.zeros(2, 3, 8, 8), r"must be a floating-point tensor \(B, D, C, H, W\)"),
        (torch.zeros(3, 1, 3, 8, 8), "do not fit the images"),
        (torch.full((2, 1, 3, 8, 8), torch.nan), "directions must be finite"),
    ],
)
def test_directions_that_do_not_fit_are_refused(directions, words):
    net, x, y = errors(2)
    with pytest.raises(InputError, match=words):
        length_search(Classifier(net), x, y, directions)


def test_lengths_must_be_positive():
    with pytest.raises(InputError, match="lengths must be positive"):
        LengthSearchConfig(lengths=(0.0, 1.0))
