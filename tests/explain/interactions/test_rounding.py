"""Rounding is no interaction: nets in which nothing interacts show nothing, and small interactions stay."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from whywrong.explain.interactions.estimators import InteractionsConfig, estimate
from whywrong.explain.interactions.method import ProfilesConfig, interactions
from whywrong.explain.interactions.pairs import all_pairs
from whywrong.explain.masking.games import FunctionGame
from whywrong.models.classifier import Classifier
from whywrong.report.methods.profiles.section import curve, read


def linear(side: int, classes: int, scale: float, bias: float = 0.0) -> nn.Module:
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * side * side, classes)).eval()
    with torch.no_grad():
        net[1].weight.normal_(0, scale, generator=torch.Generator().manual_seed(1))
        net[1].bias.fill_(bias)
    return net


class Product(nn.Module):
    """Logits (0, offset + size * a b), with a and b the brightness of the even and odd columns of 4 x 4 cells."""

    def __init__(self, size: float, offset: float) -> None:
        super().__init__()
        self.size, self.offset = size, offset

    def forward(self, x: Tensor) -> Tensor:
        columns = x.mean((1, 2)).unflatten(1, (4, -1)).mean(2)  # (B, 4)
        score = self.offset + self.size * columns[:, ::2].mean(1) * columns[:, 1::2].mean(1)
        return torch.stack([torch.zeros_like(score), score], 1)


def images(side: int) -> Tensor:
    return torch.rand(3, 3, side, side, generator=torch.Generator().manual_seed(2))


CONFIG = {"contexts": 4, "players": "pixels", "grid": 4}


@pytest.mark.parametrize("estimator", ["balanced", "faithful"])
@pytest.mark.parametrize(
    ("side", "classes", "scale", "bias", "value"),
    [
        (16, 2, 0.1, 0.0, "logit"),
        (16, 2, 0.1, 0.0, "log_odds"),  # of two classes: the difference of two linear logits
        (16, 2, 30.0, 0.0, "margin"),
        (32, 10, 0.1, 0.0, "logit"),
        (32, 5, 0.01, 100.0, "logit"),
        (64, 3, 1.0, -20.0, "logit"),
        (224, 2, 0.02, 0.0, "logit"),
    ],
)
def test_in_a_linear_net_nothing_interacts(side, classes, scale, bias, value, estimator):
    config = ProfilesConfig(value=value, estimator=estimator, **CONFIG)
    net = Classifier(linear(side, classes, scale, bias))
    result = interactions(net, images(side), torch.zeros(3, dtype=torch.int64), config=config)
    assert result.profile is not None
    for name in ("A", "M", "pos", "neg", "U", "A_se", "M_se", "U_se", "noise_share"):
        assert (getattr(result.profile, name) == 0).all(), name
    assert result.profile.J.isnan().all()
    if result.profile.overall is not None:
        assert (result.profile.overall.mean == 0).all()


def test_the_report_says_so():
    config = ProfilesConfig(value="logit", **CONFIG)
    result = interactions(Classifier(linear(32, 4, 0.1)), images(32), torch.zeros(3, dtype=torch.int64), config=config)
    lists = {name: values[0] for name, values in result.columns().items() if isinstance(values[0], list)}
    rows = [{name: lists[name][at] for name in lists} for at in range(len(lists["order"]))]
    found = curve(rows, "true")
    assert found is not None
    assert read(found).statement == "patches do not interact: each has its effect alone"


@pytest.mark.parametrize("size", [1.0, 0.3])
def test_small_interactions_above_rounding_stay(size):
    """Cells of 0.9 and 0.1 among a mean of 0.5, each an eighth of its half: every pair across is worth size / 400."""
    x = torch.full((1, 3, 4, 4), 0.9)
    x[..., ::2, :] = 0.1
    x = x.repeat_interleave(8, 2).repeat_interleave(8, 3)
    config = ProfilesConfig(value="logit", **CONFIG)
    result = interactions(Classifier(Product(size, 5.0)), x, torch.ones(1, dtype=torch.int64), config=config)
    assert result.profile is not None
    pairs, strengths = result.profile.pairs[0], result.profile.mean[0, 0, :, 0]
    across = (pairs % 2).sum(1) == 1
    assert across.any()
    torch.testing.assert_close(
        strengths[across].abs(), torch.full_like(strengths[across], size / 400), rtol=0.01, atol=0
    )
    assert (strengths[~across].abs() < 2e-6).all()  # rounding, in an image that does interact


def test_a_game_of_exact_values_has_no_rounding():
    game = FunctionGame(lambda masks: 1e-12 * masks[:, 0] * masks[:, 1], 5)
    found = estimate(game, all_pairs(5), config=InteractionsConfig(contexts=4, orders=(0, 1)))
    torch.testing.assert_close(found.mean[0, :, 0, 0], torch.full((2,), 1e-12, dtype=torch.float64))
