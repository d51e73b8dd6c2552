"""Controls of a fix, and its grade."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from whywrong.attacks.inverted.audit import class_distances, grade_fixes, random_rate, small_noise_rate
from whywrong.attacks.inverted.config import InvertedConfig
from whywrong.core.errors import InputError
from whywrong.core.randomness import row_keys
from whywrong.models.classifier import Classifier

CONFIG = InvertedConfig()


class Linear(nn.Module):
    """Logits <w_k, x> + b_k."""

    def __init__(self, w: Tensor, b: Tensor) -> None:
        super().__init__()
        self.w, self.b = nn.Parameter(w), nn.Parameter(b)

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.w.flatten(1).T + self.b


class Busy(nn.Module):
    """Right as soon as neighbouring pixels differ: noise does that as well as any crafted change."""

    def forward(self, x: Tensor) -> Tensor:
        rough = (x[..., 1:] - x[..., :-1]).square().mean((1, 2, 3))
        return torch.stack([torch.full_like(rough, 1e-5), rough], 1)


class Crack(nn.Module):
    """Right only within a narrow band of the mean of the even pixels, and only where the image is not rough."""

    def forward(self, x: Tensor) -> Tensor:
        rough = (x[..., 1:] - x[..., :-1]).square().mean((1, 2, 3))
        return torch.stack([0.51 + 1e5 * (rough - 1e-6).clamp_min(0), x.mean((1, 2, 3))], 1)


def weights(classes: int, seed: int = 0) -> Tensor:
    return torch.randn(classes, 3, 6, 6, generator=torch.Generator().manual_seed(seed))


def test_distances_of_a_linear_model_are_those_of_point_and_hyperplane():
    w, b = weights(6), torch.tensor([30.0, 0.0, 1.0, 2.0, -1.0, 4.0])
    classifier = Classifier(Linear(w, b), batch_size=2)
    x = torch.rand(5, 3, 6, 6, generator=torch.Generator().manual_seed(1))
    logits = classifier.logits(x)
    assert (logits.argmax(1) == 0).all()
    for truth in range(1, 6):
        y = torch.full((5,), truth)
        found = class_distances(classifier, x, y)
        for row in range(5):
            distance = [float((logits[row, 0] - logits[row, j]) / (w[0] - w[j]).norm()) for j in range(1, 6)]
            others = distance[: truth - 1] + distance[truth:]
            assert found.rank[row] == 1 + sum(d < distance[truth - 1] for d in others)
            assert found.ranked[row] == 5
            middle = sum(sorted(others)[1:3]) / 2
            assert found.ratio[row].item() == pytest.approx(distance[truth - 1] / middle, rel=1e-4)
            torch.testing.assert_close(found.gradient[row], w[0] - w[truth])
            assert found.margin[row].item() == pytest.approx(float(logits[row, 0] - logits[row, truth]), rel=1e-4)


def test_only_the_highest_scoring_others_are_ranked_and_each_costs_a_backward_pass():
    classifier = Classifier(Linear(weights(40), torch.arange(40.0)))
    x, y = torch.rand(3, 3, 6, 6), torch.zeros(3, dtype=torch.int64)
    found = class_distances(classifier, x, y, others=10)
    assert found.ranked.tolist() == [11, 11, 11]
    assert (classifier.forwards, classifier.backwards) == (3, 33)
    assert (int(found.forwards.sum()), int(found.backwards.sum())) == (3, 33)


def test_two_classes_leave_nothing_to_compare_with():
    classifier = Classifier(Linear(weights(2), torch.tensor([50.0, 0.0])))
    found = class_distances(classifier, torch.rand(2, 3, 6, 6), torch.ones(2, dtype=torch.int64))
    assert found.ranked.tolist() == [1, 1]
    assert found.ratio.isnan().all()
    ran, passed, grade = grade_fixes(found.ratio, torch.tensor([0.0, 1.0]), torch.tensor([1.0, 1.0]), CONFIG)
    assert ran == [["random", "small_noise"]] * 2
    assert passed == [["random", "small_noise"], ["small_noise"]]
    assert grade == ["meaningful", "noise-like"]


def test_random_noise_that_fixes_as_often_as_the_fix_fails_the_control():
    classifier = Classifier(Busy())
    x = torch.full((4, 1, 12, 12), 0.5)
    y = torch.ones(4, dtype=torch.int64)
    delta = torch.zeros_like(x)
    delta[..., ::2] = 0.01  # a crafted comb
    assert torch.equal(classifier.predict(x + delta), y)
    rate = random_rate(classifier, x, y, delta, row_keys(0, 4), 20)
    assert rate.tolist() == [1.0] * 4
    _, passed, grade = grade_fixes(torch.full((4,), 0.5), rate, torch.zeros(4), CONFIG)
    assert passed == [["class"]] * 4
    assert grade == ["noise-like"] * 4


def test_random_noise_does_not_move_a_linear_model_as_its_gradient_does():
    w = torch.zeros(2, 3, 16, 16)
    w[1] = torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(0))
    x = torch.full((8, 3, 16, 16), 0.5)
    classifier = Classifier(Linear(w, torch.stack([0.5 * w[1].sum() + 1, torch.tensor(0.0)])))
    y = torch.ones(8, dtype=torch.int64)
    delta = (w[1] * (1.001 / w[1].square().sum())).expand_as(x)  # the least change in l2; 1 logit short
    assert torch.equal(classifier.predict(x + delta), y)
    assert random_rate(classifier, x, y, delta, row_keys(0, 8), 20).max() == 0
    config = InvertedConfig(noise_sigma=0.1 / float(w[1].norm()))  # moves the margin by 0.1, half a logit is to spare
    assert small_noise_rate(classifier, x, y, delta, row_keys(0, 8), config=config).min() == 1


def test_draws_of_the_random_control_are_signs_of_the_size_of_the_fix_and_all_different():
    seen: list[Tensor] = []

    class Spy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x - 0.5)
            return torch.stack([torch.ones(len(x)), torch.zeros(len(x))], 1)

    x = torch.full((1, 3, 20, 20), 0.5)
    delta = torch.zeros_like(x)
    delta[0, 0, 0, 0] = -0.03
    random_rate(Classifier(Spy()), x, torch.ones(1, dtype=torch.int64), delta, row_keys(0, 1), 130)
    draws = torch.cat(seen).flatten(1)
    torch.testing.assert_close(draws.abs(), torch.full_like(draws, 0.03))
    likeness = torch.corrcoef(draws) - torch.eye(130)
    assert likeness.abs().max() < 6 / 1200**0.5  # six standard deviations of the correlation of fair coins
    assert draws.mean(1).abs().max() < 0.03 * 6 / 1200**0.5


def test_a_fix_through_a_crack_does_not_survive_small_noise():
    classifier = Classifier(Crack())
    x, y = torch.full((3, 1, 12, 12), 0.5), torch.ones(3, dtype=torch.int64)
    delta = torch.full_like(x, 0.011)
    assert torch.equal(classifier.predict(x + delta), y)
    assert torch.equal(classifier.predict(x + 1.5 * delta), y)
    assert small_noise_rate(classifier, x, y, delta, row_keys(0, 3), config=CONFIG).max() == 0


def test_draws_depend_on_the_key_and_not_on_the_batch():
    classifier = Classifier(Linear(weights(3), torch.tensor([0.0, 0.0, 0.0])))
    x = torch.rand(6, 3, 6, 6, generator=torch.Generator().manual_seed(4))
    y = classifier.logits(x).topk(2, dim=1).indices[:, 1]
    delta, keys = 0.3 * (weights(3)[y] - weights(3)[classifier.predict(x)]), row_keys(0, 6)
    config = InvertedConfig(noise_sigma=0.5, noise_draws=20)
    rates = (
        random_rate(classifier, x, y, delta, keys, 20),
        small_noise_rate(classifier, x, y, delta, keys, config=config),
    )
    assert 0 < rates[0].mean() < 1
    for row in range(6):
        one = slice(row, row + 1)
        assert random_rate(classifier, x[one], y[one], delta[one], keys[one], 20) == rates[0][row]
        assert small_noise_rate(classifier, x[one], y[one], delta[one], keys[one], config=config) == rates[1][row]
    other = random_rate(classifier, x, y, delta, row_keys(1, 6), 20)
    assert not torch.equal(other, rates[0])


@pytest.mark.parametrize(
    ("ratio", "random", "noise", "passed", "grade"),
    [
        (0.5, 0.0, 1.0, ["class", "random", "small_noise"], "meaningful"),
        (0.5, 0.05, 0.5, ["class", "random", "small_noise"], "meaningful"),
        (1.0, 0.0, 1.0, ["random", "small_noise"], "mixed"),
        (0.5, 0.1, 1.0, ["class", "small_noise"], "mixed"),
        (0.5, 0.0, 0.4, ["class", "random"], "mixed"),
        (2.0, 0.5, 1.0, ["small_noise"], "noise-like"),
        (2.0, 1.0, 0.0, [], "noise-like"),
    ],
)
def test_grade_follows_the_controls(ratio, random, noise, passed, grade):
    ran, found, grades = grade_fixes(torch.tensor([ratio]), torch.tensor([random]), torch.tensor([noise]), CONFIG)
    assert ran == [["class", "random", "small_noise"]]
    assert found == [passed]
    assert grades == [grade]


@pytest.mark.parametrize(
    "options", [{"halvings": -1}, {"region_limit": 0.0}, {"random_limit": 1.5}, {"noise_sigma": 4.0}, {"segments": 0}]
)
def test_settings_out_of_range_are_refused_by_name(options):
    with pytest.raises(InputError, match=next(iter(options))):
        InvertedConfig(**options)
