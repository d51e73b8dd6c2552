"""A robust copy, on data whose robust and fragile features are known."""

from __future__ import annotations

import copy

import pytest
import torch
from tests.attacks.attack_nets import SmallNet
from torch import Tensor, nn

from whywrong.core.access import Access
from whywrong.core.checks import bad_rows
from whywrong.core.classes import ClassList
from whywrong.core.errors import AccessError, InputError, NonFiniteError
from whywrong.core.input_spec import InputSpec
from whywrong.explain.counterfactuals.finetune import FinetuneConfig, FinetuneStep, finetune, l1_attack
from whywrong.models.classifier import Classifier

SIDE = 6


class Scorer(nn.Module):
    """Two classes from a linear score of the pixels, with dropout and batch normalisation that change nothing."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights.clone())
        self.drop = nn.Dropout(0.05)

    def forward(self, x: Tensor) -> Tensor:
        score = self.drop((x - 0.5) * self.weights).flatten(1).sum(1)
        return torch.stack([-score, score], 1)


def features(n: int = 400, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Images whose first pixel tells the class nine times in ten by much, and all others always by a little.

    The sum of the little ones is the better sign of the class, and an attack of 0.05 turns every one of them around.
    """
    draw = torch.Generator().manual_seed(seed)
    y = torch.randint(2, (n,), generator=draw)
    sign = (2.0 * y - 1)[:, None]
    x = 0.5 + 0.02 * sign + 0.01 * torch.randn((n, SIDE * SIDE), generator=draw)
    right = torch.rand((n, 1), generator=draw) < 0.9
    x[:, :1] = 0.5 + 0.3 * torch.where(right, sign, -sign)
    return x.view(n, 1, SIDE, SIDE), y


def standard() -> Scorer:
    """Weights that read the little ones: right on nearly everything, and wrong under attack."""
    weights = torch.full((1, 1, SIDE, SIDE), 2.0)
    weights[0, 0, 0, 0] = 0.1
    return Scorer(weights)


CONFIG = FinetuneConfig(epochs=6, eps_linf=0.05, eps_l1=0.0, rate=0.3, attack_steps=3, decay=0.0)


def test_the_copy_learns_the_feature_that_an_attack_cannot_turn():
    x, y = features()
    net = standard()
    found = finetune(Classifier(net), x, y, config=CONFIG)
    assert found.robust_accuracy_before.value < 0.1
    assert found.robust_accuracy.value > 0.8
    weights = found.classifier.module.weights.detach()[0, 0]
    share = weights.abs() / weights.abs().sum()
    assert float(share[0, 0]) > 0.2 > 10 * float(standard().weights[0, 0, 0, 0] / standard().weights.sum())
    assert found.losses[-1] < found.losses[0]
    assert found.held_out == 80


def test_agreement_is_counted_on_images_that_were_held_out():
    x, y = features()
    net = standard()
    found = finetune(Classifier(net), x, y, config=CONFIG)
    # The first pixel is right nine times in ten, the little ones always: on the rest the two must differ.
    assert 0.8 < found.agreement.value < 0.97
    assert found.accuracy_before.value == 1.0
    assert found.agreement.value == pytest.approx(found.accuracy.value)  # the original is right throughout
    assert f"{found.agreement.value:.0%} of 80 held-out images" in found.note


def test_the_original_is_left_as_it_was_and_the_global_generators_too():
    x, y = features(100)
    net = standard().train()
    net.weights.requires_grad_(False)
    before, state = copy.deepcopy(net.state_dict()), torch.get_rng_state()
    found = finetune(Classifier(net), x, y, config=CONFIG)
    assert torch.equal(torch.get_rng_state(), state)
    assert net.training
    assert net.drop.training
    assert not net.weights.requires_grad
    assert net.weights.grad is None
    assert torch.equal(net.weights, before["weights"])
    assert not bad_rows(x).any()
    assert found.classifier.module is not net
    assert not found.classifier.module.training
    assert found.classifier.module.weights.grad is None


def test_one_seed_gives_one_copy_and_another_seed_another():
    x, y = features(120)
    first, again, other = (
        finetune(Classifier(standard()), x, y, config=FinetuneConfig(epochs=2, batch=32, seed=seed))
        for seed in (1, 1, 2)
    )
    assert torch.equal(first.classifier.module.weights, again.classifier.module.weights)
    assert first.losses == again.losses
    assert not torch.equal(first.classifier.module.weights, other.classifier.module.weights)


def test_progress_tells_every_step_and_passes_are_counted():
    x, y = features(100)
    original = Classifier(standard())
    seen: list[FinetuneStep] = []
    config = FinetuneConfig(epochs=2, batch=40, eps_linf=0.05, eps_l1=0.0, attack_steps=3, holdout=0.2)
    found = finetune(original, x, y, config=config, progress=seen.append)
    assert [(step.epoch, step.step, step.steps) for step in seen] == [(1, 1, 4), (1, 2, 4), (2, 3, 4), (2, 4, 4)]
    # Training: 80 images, 2 epochs, an attack of 3 steps (5 forwards, 3 backwards) and the step itself. Measuring, for
    # both: predictions, an attack of 20 steps (22 and 20), predictions again, on 20 images.
    assert found.forwards == 160 * (5 + 1) + 2 * 20 * (1 + 22 + 1)
    assert found.backwards == 160 * (3 + 1) + 2 * 20 * 20
    assert found.forwards == found.classifier.forwards + original.forwards


def test_both_attacks_are_faced_where_both_have_a_radius():
    class Spy(Scorer):
        """Notes how much of the training images an attack has changed: all of it, or few pixels."""

        changed: list[float]

        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                Spy.changed.append(float((((x - 0.5).abs() - 0.02).abs() > 1e-4).float().mean()))
            return super().forward(x)

    Spy.changed = []
    y = torch.arange(60) % 2
    x = (0.5 + 0.04 * (y - 0.5)).view(-1, 1, 1, 1).expand(-1, 1, SIDE, SIDE)  # all are right before an attack
    finetune(
        Classifier(Spy(torch.arange(1.0, 37.0).view(1, 1, SIDE, SIDE))), x, y,
        config=FinetuneConfig(epochs=12, batch=24, eps_linf=0.05, eps_l1=0.4, attack_steps=1, rate=1e-6),
    )  # fmt: skip
    assert min(Spy.changed) < 0.1  # one pixel of 36, by 0.4
    assert max(Spy.changed) > 0.9
    few = sum(share < 0.5 for share in Spy.changed) / len(Spy.changed)
    assert 0.2 < few < 0.8


def test_the_l1_attack_of_a_linear_score_spends_its_budget_on_the_heaviest_pixels():
    weights = torch.tensor([[[[3.0, -5.0], [1.0, 0.0]]]])
    net = Scorer(weights).eval()
    x = torch.full((1, 1, 2, 2), 0.5)
    changed = l1_attack(Classifier(net), x, torch.tensor([1]), 0.8, 3)
    expected = torch.tensor([[[[0.5 - 0.3, 1.0], [0.5, 0.5]]]])  # 0.5 on the heaviest, the rest on the next
    torch.testing.assert_close(changed, expected, atol=1e-5, rtol=0)


def test_preprocessing_and_classes_go_with_the_copy():
    x, y = features(60)
    spec = InputSpec(channels=1, height=SIDE, width=SIDE, mean=(0.5,), std=(0.25,))
    original = Classifier(standard(), classes=ClassList(("a", "b")), preprocess=spec)
    found = finetune(original, x, y, config=FinetuneConfig(epochs=1))
    assert found.classifier.classes == original.classes
    assert found.classifier.preprocess == spec
    z = 4 * (x - 0.5)
    torch.testing.assert_close(found.classifier.logits(x), found.classifier.module(z).detach())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"batch": 1}, "batch must be at least 2"),
        ({"attack_steps": 0}, "attack_steps must be at least 1"),
        ({"eps_linf": 4.0}, r"eps_linf must be in \(0, 1\].*write 0.01569"),
        ({"eps_l1": -1.0}, "eps_l1 must be at least 0"),
        ({"eps_l1": 0.0, "eps_linf": 0.0}, "there is no attack"),
        ({"rate": 0.0}, "rate must be positive"),
        ({"decay": -0.1}, "decay must be at least 0"),
        ({"holdout": 0.0}, r"holdout must be in \(0, 0.9\]"),
    ],
)
def test_a_wrong_setting_is_refused(settings, words):
    with pytest.raises(InputError, match=words):
        FinetuneConfig(**settings)


def test_what_cannot_be_trained_is_refused():
    x, y = features(20)
    with pytest.raises(AccessError, match="fine-tuning a copy needs access to INTERNALS"):
        finetune(Classifier(standard(), access=Access.GRADIENTS), x, y)
    with pytest.raises(InputError, match="at least 10 images"):
        finetune(Classifier(standard()), x[:5], y[:5])
    bad = x.clone()
    bad[3] = torch.nan
    with pytest.raises(InputError, match="image 3 has values that are not finite"):
        finetune(Classifier(standard()), bad, y)
    with pytest.raises(NonFiniteError, match="try a lower rate"):
        finetune(
            Classifier(SmallNet(0)), torch.rand(40, 3, 8, 8), torch.arange(40) % 5,
            config=FinetuneConfig(rate=1e30, batch=4),
        )  # fmt: skip
