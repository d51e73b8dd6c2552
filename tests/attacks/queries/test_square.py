"""Square attack: budgets, counts, the ball, and its first steps."""

from __future__ import annotations

import pytest
import torch
from tests.attacks.queries.black_boxes import Asked, errors

from whywrong.attacks.queries.square import SquareConfig, square
from whywrong.core.errors import InputError
from whywrong.core.status import Status
from whywrong.models.classifier import Classifier


@pytest.mark.parametrize(("norm", "eps"), [("linf", 16 / 255), ("l2", 1.0)])
def test_errors_of_a_small_net_become_right_inside_the_ball(norm, eps):
    net, x, y = errors(16)
    asked = Asked(net)
    result = square(Classifier(asked), x, y, config=SquareConfig(norm=norm, eps=eps, queries=300))
    assert result.found.float().mean() > 0.8
    with torch.no_grad():
        assert torch.equal(net(result.image).argmax(1) == y, result.found)
    assert len(asked.images) == int(result.forwards.sum()) == int(result.queries.sum()) + 16
    distance = result.linf if norm == "linf" else result.l2
    assert float(distance.max()) <= eps * (1 + 1e-5)
    assert torch.equal((asked.grid * 255).round() / 255, asked.grid)


def test_the_first_image_has_vertical_stripes_at_the_surface():
    net, x, y = errors(3)
    asked = Asked(net)
    square(Classifier(asked), x * 0.5 + 0.25, y, config=SquareConfig(eps=8 / 255, queries=1, edits=False))
    first = (asked.grid[3:] - asked.grid[:3]) * 255
    torch.testing.assert_close(first.abs(), torch.full_like(first, 8.0), rtol=0, atol=1e-3)
    torch.testing.assert_close(first, first[:, :, :1].expand_as(first), rtol=0, atol=1e-3)


@pytest.mark.parametrize("queries", [0, 1, 2, 7])
def test_no_budget_is_exceeded(queries):
    net, x, y = errors(12)
    asked = Asked(net)
    result = square(Classifier(asked), x, y, config=SquareConfig(eps=1 / 255, queries=queries))
    assert int(result.queries.max()) <= queries
    assert len(asked.images) == (12 + int(result.queries.sum()) if queries else 0)
    assert {status for status, found in zip(result.status, result.found, strict=True) if not found} == {
        Status.NO_ANSWER
    }


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"queries": -1}, "queries must be at least 0"),
        ({"eps": 0.5 / 255}, "one grey level"),
        ({"norm": "l1"}, "norm must be one of linf, l2"),
        ({"share": 0.0}, r"share must be in \(0, 1\]"),
    ],
)
def test_a_wrong_setting_is_refused(setting, words):
    with pytest.raises(InputError, match=words):
        SquareConfig(**setting)
