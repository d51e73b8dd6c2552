"""Estimated gradients: exact with a perfect prior, better with one than without."""

from __future__ import annotations

import pytest
import torch
from tests.attacks.queries.black_boxes import Asked, errors
from tests.attacks.queries.test_hop_skip_jump import linear

from whywrong.attacks.queries.prior_gradient import PriorGradientConfig, prior_gradient
from whywrong.core.errors import InputError
from whywrong.models.classifier import Classifier

L2 = {"norm": "l2", "eps": 2.0, "probe": 6.0}


def cosine(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cosine_similarity(a.flatten(1), b.flatten(1))


def test_a_perfect_prior_needs_one_probe_a_step_and_gives_the_slope():
    net, x, y, _, _ = linear(3)
    slope = (net.weights[1] - net.weights[0]).detach().view(1, 3, 4, 4)
    asked = Asked(net)
    # The sign of a prior does not matter: its derivative is measured.
    prior = -slope.expand_as(x)
    prior_gradient(Classifier(asked), x, y, prior, config=PriorGradientConfig(**L2, probes=1, queries=3, steps=50))
    step = asked.grid[9:] - x  # after the image, the probe along the prior and the one across it
    assert len(asked.images) == 12
    assert cosine(step, slope).min() > 0.97


def test_the_estimate_of_a_linear_model_is_the_projection_of_its_slope():
    net, x, y, _, _ = linear(2)
    slope = (net.weights[1] - net.weights[0]).detach().view(1, 3, 4, 4)
    asked = Asked(net)
    config = PriorGradientConfig(**L2, probes=5, queries=6, steps=50)
    prior_gradient(Classifier(asked), x, y, None, config=config)
    for row in range(2):
        probes = torch.stack([asked.grid[2 + 2 * probe + row] - x[row] for probe in range(5)]).flatten(1)
        units = probes / probes.norm(dim=1, keepdim=True)
        expected = (units @ slope.flatten()) @ units
        step = (asked.grid[12 + row] - x[row]).flatten()
        assert float(torch.nn.functional.cosine_similarity(step, expected, dim=0)) > 0.97


def test_a_surrogate_gradient_saves_queries():
    net, x, y = errors(12)

    def surrogate(rows, pixels, classes):
        pixels = pixels.clone().requires_grad_()
        with torch.enable_grad():
            loss = net(pixels).gather(1, classes[:, None]).sum()
            return torch.autograd.grad(loss, pixels)[0]

    config = PriorGradientConfig(eps=24 / 255, probes=4, queries=200)
    asked = Asked(net)
    with_prior = prior_gradient(Classifier(asked), x, y, surrogate, config=config)
    assert len(asked.images) == int(with_prior.forwards.sum()) == int(with_prior.queries.sum()) + 12
    assert float(with_prior.linf.max()) <= 24 / 255 + 1e-6
    without = prior_gradient(Classifier(net), x, y, None, config=config)
    assert with_prior.found.all()
    assert int(with_prior.queries.sum()) < int(without.queries.sum())
    with torch.no_grad():
        assert torch.equal(net(without.image).argmax(1) == y, without.found)


@pytest.mark.parametrize("queries", [0, 1, 2, 9])
def test_no_budget_is_exceeded(queries):
    net, x, y = errors(4)
    asked = Asked(net)
    config = PriorGradientConfig(eps=1 / 255, queries=queries)
    result = prior_gradient(Classifier(asked), x, y, torch.ones_like(x), config=config)
    assert int(result.queries.max()) <= queries
    assert len(asked.images) == (4 + int(result.queries.sum()) if queries else 0)


def test_a_prior_of_another_shape_is_refused_and_one_that_is_not_finite_is_no_prior():
    net, x, y = errors(2)
    with pytest.raises(InputError, match="prior must give directions"):
        prior_gradient(Classifier(net), x, y, lambda rows, pixels, classes: pixels[:, :1])
    config = PriorGradientConfig(queries=30)
    nothing = prior_gradient(Classifier(net), x, y, None, config=config)
    broken = prior_gradient(Classifier(net), x, y, torch.full_like(x, torch.nan), config=config)
    assert torch.equal(nothing.image, broken.image)
    assert torch.equal(nothing.queries, broken.queries)
