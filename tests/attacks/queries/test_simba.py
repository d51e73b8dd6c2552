"""SimBA: steps along single cosines, kept if they help."""

from __future__ import annotations

import pytest
import torch
from scipy.fft import dctn
from tests.attacks.queries.black_boxes import Asked, errors

from whywrong.attacks.queries.simba import SimbaConfig, simba
from whywrong.core.errors import InputError
from whywrong.models.classifier import Classifier


def test_a_step_is_one_low_cosine_of_one_channel():
    net, x, y = errors(3)
    asked = Asked(net)
    config = SimbaConfig(step=1.5, eps=100.0, queries=1, frequencies=0.5)
    simba(Classifier(asked), 0.3 + 0.4 * x, y, config=config)
    change = (asked.grid[3:6] - asked.grid[:3]).numpy()
    spectrum = abs(dctn(change, axes=(2, 3), norm="ortho"))
    for one in spectrum:
        assert one.max() == pytest.approx(1.5, abs=0.05)  # all of it in one place, but for the rounding
        assert (one > 0.1).sum() == 1
        assert one[:, :4, :4].max() == one.max()


@pytest.mark.parametrize(("norm", "eps"), [("linf", 24 / 255), ("l2", 1.5)])
def test_errors_of_a_small_net_become_right_inside_the_ball(norm, eps):
    net, x, y = errors(12)
    asked = Asked(net)
    result = simba(Classifier(asked), x, y, config=SimbaConfig(norm=norm, eps=eps, queries=150))
    assert result.found.float().mean() > 0.7
    with torch.no_grad():
        assert torch.equal(net(result.image).argmax(1) == y, result.found)
    assert float((result.linf if norm == "linf" else result.l2).max()) <= eps * (1 + 1e-5)
    assert len(asked.images) == int(result.forwards.sum()) == int(result.queries.sum()) + 12


def test_margins_never_rise():
    net, x, y = errors(6)
    few, many = (simba(Classifier(net), x, y, config=SimbaConfig(queries=n, step=0.1, eps=0.3)) for n in (10, 30))
    assert (many.margin <= few.margin).all()
    assert (many.margin < few.margin).any()


@pytest.mark.parametrize(("setting", "words"), [({"step": 0.0}, "step must be"), ({"frequencies": 2.0}, "frequencies")])
def test_a_wrong_setting_is_refused(setting, words):
    with pytest.raises(InputError, match=words):
        SimbaConfig(**setting)
