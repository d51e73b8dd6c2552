"""Profiles of single errors as a method of a run."""

from __future__ import annotations

import math

import pytest
import torch
from tests.explain.interactions.game_tables import choose
from torch import Tensor, nn

from whywrong.core.access import Access
from whywrong.core.errors import AccessError, InputError
from whywrong.explain.interactions.method import RATIOS, ProfileEntries, ProfilesConfig, ProfilesResult, interactions
from whywrong.explain.interactions.pairs import orders_of
from whywrong.models.classifier import Classifier

SMALL = ProfilesConfig(grid=4, max_passes=900)


class AllTogether(nn.Module):
    """Logit of class 1: how many images of ``cells`` (rows, cols) of a 4 x 4 grid are all white, else 0."""

    def __init__(self, cells: list[int]) -> None:
        super().__init__()
        self.cells = cells
        self.scale = nn.Parameter(torch.tensor(1.0))

    def forward(self, x: Tensor) -> Tensor:
        level = x.mean(1).unfold(1, 2, 2).unfold(2, 2, 2).amax((3, 4)).flatten(1)  # (B, 16)
        together = (level[:, self.cells] > 0.9).all(1).float() * self.scale
        return torch.stack([torch.zeros_like(together), together, torch.zeros_like(together)], 1)


NAMES = [one.name for one in ProfileEntries.declared()]


def white(batch: int) -> Tensor:
    """Images whose baseline, their own mean, is grey: cells alternate between white and black inside."""
    x = torch.zeros(batch, 3, 8, 8)
    x[:, :, ::2, ::2] = 1.0
    return x


def rows_of(result: ProfilesResult, row: int, of: str) -> list[dict]:
    columns = result.columns()
    entries = zip(*(columns[name][row] for name in NAMES), strict=True)
    return [dict(zip(NAMES, entry, strict=True)) for entry in entries if entry[NAMES.index("class")] == of]


def test_all_of_a_block_together_has_the_interactions_of_an_and():
    """The AND of k players: I of order s is C(n-k, s-k+2) / C(n-2, s) for its pairs; here the logit is the value."""
    n, k = 16, 4
    config = ProfilesConfig(grid=4, value="logit", ratios=(0.0, 0.5, 1.0), contexts=300, precision=None,
                            side=4, radius=2, max_passes=10**6)  # fmt: skip
    cells = [0, 1, 4, 5]
    result = interactions(Classifier(AllTogether(cells)), white(2), torch.tensor([1, 1]), config=config)
    assert result.status == ["ok", "ok"]
    pairs_inside = math.comb(k, 2) / 90  # of the pairs within two rows and columns of a 4 x 4 grid
    for entry in rows_of(result, 0, "true"):
        s = entry["order"]
        due = choose(n - k, s - k + 2) / choose(n - 2, s)
        assert entry["M"] == pytest.approx(due * pairs_inside, abs=1e-6 if entry["exact"] else 0.02)
        assert entry["pos"] == pytest.approx(entry["M"], abs=0.02)
    assert [entry["order"] for entry in rows_of(result, 0, "true")] == [0, 7, 14]


def test_the_difference_is_that_of_the_two_classes_and_costs_nothing(images_and_net):
    classifier, x, y = images_and_net
    result = interactions(classifier, x, y, config=SMALL)
    for true, target, both in zip(*(rows_of(result, 0, of) for of in ("true", "target", "difference")), strict=True):
        assert both["M"] == pytest.approx(true["M"] - target["M"], abs=1e-9)
    assert classifier.forwards == int(result.forwards.sum())


def test_no_image_takes_more_passes_than_the_cap(images_and_net):
    classifier, x, y = images_and_net
    for cap in (600, 900, 3000):
        result = interactions(classifier, x, y, config=ProfilesConfig(grid=4, max_passes=cap))
        assert int(result.forwards.max()) <= cap
        assert result.columns()["passes"].tolist() == result.forwards.tolist()


def test_rows_outside_of_detail_and_bad_pixels_cost_nothing_and_say_why(images_and_net):
    classifier, x, y = images_and_net
    x = x.clone()
    x[1, 0, 0, 0] = torch.nan
    result = interactions(classifier, x, y, detail=torch.tensor([True, True, False]), config=SMALL)
    columns = result.columns()
    assert result.status == ["ok", "bad_input", "skipped"]
    assert columns["reason"][0] is None
    assert "not finite" in columns["reason"][1]
    assert result.forwards.tolist()[1:] == [0, 0]
    assert [len(values) for values in columns["U"]] == [3 * len(orders_of(16, RATIOS)), 0, 0]
    assert result.to_arrow().schema.names == result.schema().names
    assert columns["target"].tolist()[1:] == [-1, -1]


def test_a_constant_model_has_no_interactions_and_no_shape():
    class Constant(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.new_tensor([0.0, 1.0]).expand(len(x), 2) + 0 * x.mean((1, 2, 3))[:, None]

    result = interactions(Classifier(Constant()), white(1), torch.tensor([0]), config=SMALL)
    first = rows_of(result, 0, "true")[0]
    assert (first["A"], first["U"], first["noise_share"], first["noisy"]) == (0.0, 0.0, 0.0, False)
    assert math.isnan(first["J"])


@pytest.mark.parametrize(
    "bad", [{"value": "p"}, {"max_passes": 0}, {"ratios": (1.5,)}, {"ratios": ()}, {"blocks": 0}, {"side": 1},
            {"radius": 0}, {"grid": 1}, {"players": "patches"}, {"baseline": "black"}, {"contexts": 1},
            {"precision": 2.0}, {"estimator": "fast"}]
)  # fmt: skip
def test_settings_that_mean_nothing_are_refused(bad):
    with pytest.raises(InputError):
        ProfilesConfig(**bad)


def test_a_cap_that_holds_nothing_and_a_grid_that_does_not_divide_are_named(images_and_net):
    classifier, x, y = images_and_net
    with pytest.raises(InputError, match="max_passes"):
        interactions(classifier, x, y, config=ProfilesConfig(grid=4, max_passes=20))
    with pytest.raises(InputError, match="does not divide"):
        interactions(classifier, x, y, config=ProfilesConfig(grid=3))
    with pytest.raises(AccessError):
        interactions(Classifier(lambda x: x.mean((1, 2, 3)).long(), access=Access.LABELS, output="labels"), x, y)


@pytest.fixture
def images_and_net() -> tuple[Classifier, Tensor, Tensor]:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
                        nn.Linear(32, 5))  # fmt: skip
    x = torch.rand(3, 3, 8, 8)
    y = net(x).argsort(1, descending=True)[:, 1]
    return Classifier(net), x, y
