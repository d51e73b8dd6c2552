"""Superpixels, the region fix, and the regions that carry a fix."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from whywrong.attacks.inverted.config import InvertedConfig
from whywrong.attacks.inverted.explain import ExplainedFix, explain_fix
from whywrong.attacks.inverted.region_fix import RegionFix, region_fix
from whywrong.attacks.inverted.regions import list_regions
from whywrong.attacks.inverted.segments import segment_count, segment_sums, superpixels
from whywrong.core.margins import error_margin
from whywrong.models.classifier import Classifier

CONFIG = InvertedConfig()


class Linear(nn.Module):
    """Logits <w_k, x> + b_k."""

    def __init__(self, w: Tensor, b: Tensor) -> None:
        super().__init__()
        self.w, self.b = nn.Parameter(w), nn.Parameter(b)

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.w.flatten(1).T + self.b


class Curved(nn.Module):
    """A small smooth network with fixed random weights."""

    def __init__(self, classes: int = 5, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.first = nn.Parameter(torch.randn(12, 3, 5, 5, generator=generator) * 0.3)
        self.second = nn.Parameter(torch.randn(16, 12, 3, 3, generator=generator) * 0.2)
        self.last = nn.Parameter(torch.randn(classes, 16, generator=generator))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.nn.functional.silu(torch.nn.functional.conv2d(x - 0.5, self.first, padding=2))
        x = torch.nn.functional.silu(torch.nn.functional.conv2d(x, self.second, stride=2))
        return 10 * x.mean((2, 3)) @ self.last.T


def grid(batch: int, cells: int = 4, side: int = 4) -> Tensor:
    """(B, cells * side, cells * side): a chessboard of numbered squares."""
    line = torch.arange(cells * side) // side
    return (line[:, None] * cells + line).expand(batch, -1, -1).clone()


def second_best(classifier: Classifier, x: Tensor) -> Tensor:
    """A wrong label for every image: the class that comes second."""
    return classifier.logits(x).topk(2, dim=1).indices[:, 1]


def newton(classifier: Classifier, x: Tensor, y: Tensor) -> Tensor:
    """A plain fix: steps along the gradient until right, then halvings of the way."""
    at = x.clone()
    for _ in range(50):
        _, m, g = classifier.gradient(at, lambda z, rows: error_margin(z, y[rows]))
        if bool((m < 0).all()):
            break
        step = 1.2 * (m.clamp_min(0) + 1e-4 * (m >= 0)) / g.flatten(1).square().sum(1)
        at = (at - step.view(-1, 1, 1, 1) * g).clamp(0, 1)
    low, high = torch.zeros(len(x)), torch.ones(len(x))
    for _ in range(12):
        middle = (low + high) / 2
        right = error_margin(classifier.logits(x + middle.view(-1, 1, 1, 1) * (at - x)), y) < -1e-4
        low, high = torch.where(right, low, middle), torch.where(right, middle, high)
    return high.view(-1, 1, 1, 1) * (at - x)


def fix_in_regions(
    classifier: Classifier, x: Tensor, y: Tensor, segments: Tensor, config: InvertedConfig = CONFIG
) -> RegionFix:
    logits, m, g = classifier.gradient(x, lambda z, rows: error_margin(z, y[rows]))
    return region_fix(classifier, x, y, segments, m, g, logits.abs().amax(1), config=config)


def explain(classifier: Classifier, x: Tensor, y: Tensor, delta: Tensor, **options) -> ExplainedFix:
    masks = options.pop("masks", None)
    rows = torch.arange(len(x))
    return explain_fix(classifier, x, y, delta, rows=rows, masks=masks, config=InvertedConfig(**options))


@pytest.fixture(scope="module")
def errors() -> tuple[Classifier, Tensor, Tensor, Tensor]:
    classifier = Classifier(Curved(), batch_size=16)
    generator = torch.Generator().manual_seed(1)
    coarse = torch.rand(6, 3, 4, 4, generator=generator)
    x = torch.nn.functional.interpolate(coarse, size=24, mode="bicubic").clamp(0.05, 0.95)
    y = second_best(classifier, x)
    return classifier, x, y, newton(classifier, x, y)


@pytest.mark.parametrize(("side", "count"), [(224, 100), (64, 100), (32, 64), (28, 49), (8, 4), (3, 1), (1, 1)])
def test_number_of_superpixels_follows_the_size(side, count):
    assert segment_count(side, side) == count


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [1, 2, 5, 8, 28, 33, 64, 230])
@pytest.mark.parametrize("kind", ["constant", "noise", "smooth"])
def test_superpixels_are_numbered_without_gaps_and_about_as_many_as_asked(channels, side, kind):
    generator = torch.Generator().manual_seed(side)
    x = torch.full((1, channels, side, side), 0.5)
    if kind == "noise":
        x = torch.rand(x.shape, generator=generator)
    elif kind == "smooth":
        x = torch.nn.functional.interpolate(torch.rand((1, channels, 3, 3), generator=generator), size=side)
    found = superpixels(x)
    assert found.shape == (1, side, side)
    numbers = found.unique()
    assert numbers.tolist() == list(range(len(numbers)))
    asked = segment_count(side, side)
    assert asked / 2 <= len(numbers) <= 1.5 * asked + 1
    assert torch.equal(found, superpixels(x))


def test_superpixels_follow_an_edge_of_colour():
    x = torch.full((1, 3, 96, 96), 0.2)
    x[:, 0, :, 40:] = 0.9  # the edge lies at no multiple of a regular grid's cells
    found = superpixels(x)[0]
    left, right = set(found[:, :39].unique().tolist()), set(found[:, 41:].unique().tolist())
    assert not left & right


def test_superpixels_do_not_depend_on_the_batch():
    x = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    together = superpixels(x)
    for row in range(3):
        assert torch.equal(together[row], superpixels(x[row : row + 1])[0])


def test_segment_sums_equal_a_plain_loop():
    values = torch.arange(32.0).view(2, 4, 4)
    segments = torch.randint(0, 3, (2, 4, 4), generator=torch.Generator().manual_seed(0))
    sums = segment_sums(values, segments, 5)
    for row in range(2):
        for number in range(5):
            assert sums[row, number] == values[row][segments[row] == number].sum()


def test_region_fix_of_a_linear_model_is_the_one_superpixel_that_carries_the_weights():
    segments = grid(3)
    w = torch.zeros(2, 3, 16, 16)
    w[1] = torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(0)) * (segments[0] == 6)
    classifier = Classifier(Linear(w, torch.stack([0.5 * w[1].sum() + 2, torch.tensor(0.0)])))  # 2 logits short
    x = torch.full((3, 3, 16, 16), 0.5)
    y = torch.ones(3, dtype=torch.int64)
    assert (error_margin(classifier.logits(x), y) > 0).all()
    found = fix_in_regions(classifier, x, y, segments)
    assert found.fixed.all()
    assert found.chosen.nonzero().tolist() == [[0, 6], [1, 6], [2, 6]]
    assert (found.delta * (segments != 6)[:, None]).abs().max() == 0
    # one step along the gradient it was given suffices; testing it is all that costs
    assert found.forwards.tolist() == [1, 1, 1]
    assert found.backwards.tolist() == [1, 1, 1]
    m = error_margin(classifier.logits(x), y)
    expected = 1.5 * m / w[1].norm()  # closed form of the step, half as far again as the boundary
    torch.testing.assert_close(found.delta.flatten(1).norm(dim=1), expected, rtol=1e-3, atol=0)


def test_region_fix_takes_the_steepest_superpixel_and_drops_those_not_needed():
    segments = grid(1)
    w = torch.zeros(2, 1, 16, 16)
    for number, size in ((2, 1.0), (9, 3.0), (12, 2.0)):
        w[1] += size * (segments == number)
    classifier = Classifier(Linear(w, torch.tensor([26.0, 0.0])))
    x = torch.full((1, 1, 16, 16), 0.2)
    y = torch.tensor([1])
    found = fix_in_regions(classifier, x, y, segments)
    assert found.fixed.item()
    assert found.chosen.nonzero()[:, 1].tolist() == [9]
    # 26 - 0.2 * 16 * 6 = 6.8 logits over 3 * 16 weights: 0.14 a pixel
    assert 6.8 / 48 <= found.delta.max() <= 0.25


def test_region_fix_widens_rather_than_bleaches():
    segments = grid(1)
    w = torch.stack([torch.zeros(1, 16, 16), torch.ones(1, 16, 16)])
    classifier = Classifier(
        Linear(w, torch.tensor([256 * 0.2 + 16, 0.0]))
    )  # 16 logits short: 1.0 on each of the 16 pixels of one superpixel
    x = torch.full((1, 1, 16, 16), 0.2)
    found = fix_in_regions(classifier, x, torch.tensor([1]), segments)
    assert found.fixed.item()
    assert found.delta.abs().max() <= 0.25 + 1e-6
    assert 4 <= found.chosen.sum() <= 6  # 64 pixels by 0.25 is the least; the overshoot may ask for half as many again


def test_region_fix_refuses_what_too_many_superpixels_would_need():
    segments = grid(1)
    w = torch.stack([torch.zeros(1, 16, 16), torch.ones(1, 16, 16)])
    classifier = Classifier(
        Linear(w, torch.tensor([0.9 * 256, 0.0]))
    )  # even half of the pixels at white do not reach it
    x = torch.zeros(1, 1, 16, 16)
    found = fix_in_regions(classifier, x, torch.tensor([1]), segments)
    assert not found.fixed.item()
    assert found.delta.isnan().all()
    assert not found.chosen.any()


def test_region_fix_leaves_a_tie():
    segments = grid(1)
    w = torch.zeros(2, 1, 16, 16)
    w[1] = (segments == 5).float()
    classifier = Classifier(Linear(w, torch.tensor([8.0, 0.0])))
    found = fix_in_regions(classifier, torch.full((1, 1, 16, 16), 0.5), torch.tensor([1]), segments)
    assert found.fixed.item()


def test_sufficient_and_necessary_are_those_of_the_superpixel_with_the_weights():
    segments = grid(1)
    w = torch.zeros(2, 1, 16, 16)
    w[1] = (segments == 6).float()
    classifier = Classifier(Linear(w, torch.tensor([8.4, 0.0])))
    x = torch.full((1, 1, 16, 16), 0.5)
    y = torch.tensor([1])
    delta = 0.026 * w[1:]
    listed = list_regions(classifier, x, y, delta, (delta * w[1])[:, 0], segments, None, config=CONFIG)
    first, second, *_ = listed.regions[0]
    assert first == {
        "segment": 6,
        "share": pytest.approx(1),
        "area": pytest.approx(1 / 16),
        "lift": None,
        "sufficient": True,
        "necessary": True,
    }
    assert second["share"] == 0
    assert (second["sufficient"], second["necessary"]) == (False, False)
    assert listed.forwards.tolist() == [6]


def test_half_a_fix_is_necessary_but_not_sufficient():
    segments = grid(1)
    w = torch.zeros(2, 1, 16, 16)
    w[1] = (segments == 6).float() + (segments == 9).float()
    classifier = Classifier(Linear(w, torch.tensor([16.8, 0.0])))
    x = torch.full((1, 1, 16, 16), 0.5)
    delta = 0.026 * w[1:]
    listed = list_regions(classifier, x, torch.tensor([1]), delta, (delta * w[1])[:, 0], segments, None, config=CONFIG)
    for region in listed.regions[0][:2]:
        assert region["share"] == pytest.approx(0.5)
        assert (region["sufficient"], region["necessary"]) == (False, True)


def test_region_lift_is_the_part_of_the_region_on_the_object():
    segments = grid(1)
    mask = torch.zeros(1, 16, 16, dtype=torch.bool)
    mask[:, :, :6] = True  # 6 of 16 columns; half of superpixel 1
    classifier = Classifier(Linear(torch.zeros(2, 1, 16, 16), torch.tensor([1.0, 0.0])))
    c = (segments == 1).float()
    x = torch.zeros(1, 1, 16, 16)
    listed = list_regions(classifier, x, torch.tensor([1]), x, c, segments, mask, config=CONFIG)
    assert listed.regions[0][0]["lift"] == pytest.approx(0.5 / (6 / 16))


def test_explained_counts_equal_those_of_the_classifier(errors):
    classifier, x, y, delta = errors
    before = classifier.forwards, classifier.backwards
    found = explain(classifier, x, y, delta)
    assert classifier.forwards - before[0] == int(found.forwards.sum())
    assert classifier.backwards - before[1] == int(found.backwards.sum())


def test_region_fix_of_a_curved_model_is_right_inside_the_box_and_inside_its_mask(errors):
    classifier, x, y, delta = errors
    found = explain(classifier, x, y, delta)
    assert found.region_fixed.all()
    assert torch.equal(classifier.predict(found.region_fix), y)
    assert found.region_fix.min() >= 0
    assert found.region_fix.max() <= 1
    change = found.region_fix - x
    assert (change * ~found.region_mask[:, None]).abs().max() < 1e-6
    torch.testing.assert_close(change.flatten(1).norm(dim=1), found.region_l2)
    torch.testing.assert_close(found.region_area, found.region_mask.float().mean((1, 2)))


def test_explanation_does_not_depend_on_the_batch(errors):
    classifier, x, y, delta = errors
    whole = explain(classifier, x, y, delta)
    for rows in (torch.tensor([4]), torch.tensor([5, 2, 0])):
        part = explain(classifier, x[rows], y[rows], delta[rows])
        for name, values in part.columns().items():
            expected = whole.columns()[name]
            if isinstance(values, Tensor) and isinstance(expected, Tensor):
                torch.testing.assert_close(values, expected[rows], rtol=1e-3, atol=1e-5, equal_nan=True)
            elif name != "regions":
                assert list(values) == [list(expected)[row] for row in rows.tolist()]
        for ours, row in zip(part.regions, rows.tolist(), strict=True):
            assert [r["segment"] for r in ours] == [r["segment"] for r in whole.regions[row]]
        assert torch.equal(part.region_mask, whole.region_mask[rows])
        torch.testing.assert_close(part.contribution, whole.contribution[rows], rtol=1e-3, atol=1e-6)
        assert torch.equal(part.forwards, whole.forwards[rows])


def test_explanation_is_the_same_twice_to_the_bit(errors):
    classifier, x, y, delta = errors
    one, two = explain(classifier, x, y, delta), explain(classifier, x, y, delta)
    for name, values in one.maps().items():
        np.testing.assert_array_equal(values.numpy(), two.maps()[name].numpy())
    assert one.regions == two.regions


def test_real_errors_have_region_fixes_and_complete_contributions_within_the_budget(shared_data, shared_models):
    stored = np.load(shared_data / "cifar10_test_a" / "test_lossless.npz")
    x = torch.from_numpy(stored["images"]).permute(0, 3, 1, 2).float() / 255
    y = torch.from_numpy(stored["labels"])
    classifier = Classifier(shared_models("resnet20"), batch_size=128)
    wrong = (classifier.predict(x) != y).nonzero().flatten()[:12]
    x, y = x[wrong], y[wrong]
    delta = newton(classifier, x, y)
    found = explain(classifier, x, y, delta)
    assert found.region_fixed.all()
    assert torch.equal(classifier.predict(found.region_fix), y)
    assert (found.contribution_residual < 0.02).all()
    assert found.region_count.float().median() <= 3
    assert (found.forwards + found.backwards).float().mean() <= 70


@pytest.mark.parametrize("beyond", [0.25, 0.5, 1.0])
def test_regions_are_asked_about_the_fix_taken_further_than_its_least_length(beyond):
    """The margin falls evenly: taken 1 + b times as far, a region of share s is enough from s > 1 / (1 + b) on, and
    the rest is not without it from s > b / (1 + b) on."""
    shares = torch.tensor([0.7, 0.2, 0.1])
    w = torch.zeros(2, 1, 2, 4)
    w[1] = 1.0
    x = torch.full((1, 1, 2, 4), 0.5)
    classifier = Classifier(Linear(w, torch.tensor([4.1, 0.0])))  # <w, x> is 4: the margin of class 1 is 0.1
    segments = torch.tensor([[[0, 0, 1, 2], [0, 0, 1, 2]]])
    amount = torch.tensor([0.7 / 4, 0.2 / 2, 0.1 / 2])
    delta = 0.1001 * amount[segments][:, None]
    config = InvertedConfig(beyond=beyond, tested_regions=3)
    (listed,) = list_regions(
        classifier, x, torch.ones(1, dtype=torch.int64), delta, delta[:, 0], segments, None, config=config
    ).regions
    assert [region["segment"] for region in listed] == [0, 1, 2]
    assert [region["share"] for region in listed] == pytest.approx(shares.tolist(), abs=1e-5)
    assert [region["sufficient"] for region in listed] == (shares > 1 / (1 + beyond)).tolist()
    assert [region["necessary"] for region in listed] == (shares > beyond / (1 + beyond)).tolist()
