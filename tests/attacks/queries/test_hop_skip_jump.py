"""HopSkipJump against the closest change of a linear model, foolbox, and its own budget."""

from __future__ import annotations

import pytest
import torch
from tests.attacks.attack_nets import Linear
from tests.attacks.queries.black_boxes import Asked, errors
from torch import Tensor

from whywrong.attacks.queries.hop_skip_jump import HopSkipJumpConfig, hop_skip_jump
from whywrong.core.access import Access
from whywrong.core.errors import InputError
from whywrong.core.status import Status
from whywrong.models.classifier import Classifier

TO_THE_END = {"stop_early": False, "eps": 10.0}


def linear(n: int) -> tuple[Linear, Tensor, Tensor, Tensor, Tensor]:
    """Two classes, grey images read as class 0, starts of class 1, and the distances to class 1."""
    draw = torch.Generator().manual_seed(1)
    weights = torch.randn((2, 48), generator=draw)
    slope = weights[1] - weights[0]
    x = ((0.4 + 0.2 * torch.rand((n, 3, 4, 4), generator=draw)) * 255).round() / 255
    offset = float((x.flatten(1) @ slope).max()) + 0.4 * float(slope.norm())
    start = (x + 0.3 * slope.sign().view(1, 3, 4, 4)).clamp(0, 1)
    distance = (offset - x.flatten(1) @ slope) / slope.norm()
    return Linear(weights, torch.tensor([0.0, -offset])), x, torch.ones(n, dtype=torch.int64), start, distance


def test_the_change_of_a_linear_model_converges_to_the_shortest():
    net, x, y, start, distance = linear(2)
    ratios = []
    for queries in (60, 200, 700):
        config = HopSkipJumpConfig(queries=queries, **TO_THE_END)
        result = hop_skip_jump(Classifier(net), x, y, start=start, config=config)
        assert result.found.all()
        ratios.append((result.l2 / distance).detach())
    assert (ratios[2] >= 1 - 1e-3).all()
    assert (ratios[2] <= ratios[1]).all()
    assert (ratios[1] <= ratios[0]).all()
    assert ratios[2].max() < 1.15
    assert ratios[0].max() > 1.2  # which is why the last bound says something


@pytest.mark.parametrize("queries", [0, 1, 5, 40])
def test_no_budget_is_exceeded_and_no_image_is_asked_twice(queries):
    net, x, y, start, _ = linear(3)
    asked = Asked(net)
    config = HopSkipJumpConfig(queries=queries, **TO_THE_END)
    result = hop_skip_jump(Classifier(asked), x, y, start=start, config=config)
    assert int(result.queries.max()) <= queries
    assert len(asked.images) == int(result.forwards.sum()) == (3 + int(result.queries.sum()) if queries else 0)
    if asked.images:
        assert len(asked.grid.unique(dim=0)) == len(asked.images)


def test_scores_are_never_read():
    net, x, y, start, _ = linear(3)
    config = HopSkipJumpConfig(queries=100, **TO_THE_END)
    whole = hop_skip_jump(Classifier(net), x, y, start=start, config=config)
    labels = Classifier(lambda pixels: net(pixels).argmax(1), output="labels")
    assert labels.access == Access.LABELS
    alone = hop_skip_jump(labels, x, y, start=start, config=config)
    assert torch.equal(whole.image, alone.image)
    assert torch.equal(whole.queries, alone.queries)


def test_without_a_start_patterns_of_growing_contrast_lead_to_the_goal():
    net, x, y = errors(12)
    result = hop_skip_jump(Classifier(net), x, y, config=HopSkipJumpConfig(queries=150, **TO_THE_END))
    with torch.no_grad():
        assert torch.equal(net(result.image).argmax(1) == y, result.found)
    assert result.found.float().mean() > 0.5


def test_an_image_within_the_radius_stops_and_one_outside_is_not_found():
    net, x, y, start, distance = linear(4)
    near, far = float(distance.max()) * 2, float(distance.min()) / 2
    stopped = hop_skip_jump(Classifier(net), x, y, start=start, config=HopSkipJumpConfig(eps=near, queries=500))
    assert stopped.found.all()
    assert int(stopped.queries.max()) < 500
    missed = hop_skip_jump(Classifier(net), x, y, start=start, config=HopSkipJumpConfig(eps=far, queries=60))
    assert not missed.found.any()
    assert set(missed.status) == {Status.NO_ANSWER}
    assert (net(missed.image).argmax(1) == y).all()


def test_a_norm_that_it_does_not_shorten_is_refused():
    with pytest.raises(InputError, match="norm must be l2"):
        HopSkipJumpConfig(norm="linf")


@pytest.mark.slow
def test_changes_are_no_longer_than_those_of_foolbox_on_a_linear_model():
    foolbox = pytest.importorskip("foolbox")
    net, x, y, start, _ = linear(4)
    ours = hop_skip_jump(Classifier(net), x, y, start=start, config=HopSkipJumpConfig(queries=1000, **TO_THE_END))
    counts = []

    class Counting(torch.nn.Module):
        def forward(self, pixels: Tensor) -> Tensor:
            counts.append(len(pixels))
            return net(pixels)

    wrapped = foolbox.PyTorchModel(Counting().eval(), bounds=(0, 1), device="cpu")
    peer = foolbox.attacks.HopSkipJumpAttack(steps=9)
    found, _, _ = peer(wrapped, x, foolbox.criteria.TargetedMisclassification(y), starting_points=start, epsilons=None)
    assert sum(counts) > 4 * 1000  # it had no fewer queries
    theirs = (found - x).flatten(1).norm(dim=1)
    assert (ours.l2 <= 1.1 * theirs).all()
