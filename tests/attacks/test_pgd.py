"""PGD against closed forms and foolbox."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.attacks.attack_nets import Linear, SmallNet
from tests.attacks.real_nets import right_images

from whywrong.attacks.pgd import PGDConfig, pgd
from whywrong.core.errors import InputError
from whywrong.models.classifier import Classifier


def far_from_the_boundary() -> tuple[Linear, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two classes, images near a bound of the range, and the slope of the loss."""
    draw = torch.Generator().manual_seed(0)
    w = torch.randn((2, 48), generator=draw)
    x = torch.rand((5, 3, 4, 4), generator=draw)
    model = Linear(w, torch.tensor([20.0, 0.0]))
    return model, x, torch.zeros(5, dtype=torch.int64), (w[1] - w[0]).view(1, 3, 4, 4)


@pytest.mark.parametrize("loss", ["ce", "margin"])
def test_the_linf_attack_of_a_linear_model_ends_in_the_corner_of_the_box(loss):
    model, x, y, slope = far_from_the_boundary()
    result = pgd(Classifier(model), x, y, config=PGDConfig(eps=0.1, loss=loss))
    torch.testing.assert_close(result.x_adv, (x + 0.1 * slope.sign()).clamp(0, 1))
    assert result.success.tolist() == [False] * 5
    assert result.forwards.tolist() == [22] * 5
    assert result.backwards.tolist() == [20] * 5


def test_the_l2_attack_of_a_linear_model_goes_along_the_slope():
    model, x, y, slope = far_from_the_boundary()
    x = 0.4 + 0.2 * x  # the ball stays off the bounds
    result = pgd(Classifier(model), x, y, config=PGDConfig(norm="l2", eps=0.3, step_size=0.3))
    torch.testing.assert_close(result.x_adv, x + 0.3 * slope / slope.norm(), rtol=0, atol=3e-4)
    torch.testing.assert_close(result.l2, torch.full((5,), 0.3))


def test_the_loss_of_a_target_goes_toward_it():
    model, x, y, slope = far_from_the_boundary()
    result = pgd(Classifier(model), x, y, targets=y + 1, config=PGDConfig(eps=0.1))
    torch.testing.assert_close(result.x_adv, (x + 0.1 * slope.sign()).clamp(0, 1))


def test_a_step_is_two_and_a_half_radii_shared_by_the_steps():
    model, x, _, slope = far_from_the_boundary()
    x, y = 0.4 + 0.2 * x[:1], torch.zeros(1, dtype=torch.int64)
    with torch.no_grad():
        logits = model(x)[0]
        model.bias[0] += logits[1] - logits[0] + 0.001  # so near the boundary that one step is enough
    result = pgd(Classifier(model), x, y, config=PGDConfig(eps=0.1, steps=10, random_start=False))
    torch.testing.assert_close(result.x_adv, x + 0.025 * slope.sign())


@given(seed=st.integers(0, 10_000), eps=st.floats(1e-3, 1.0), norm=st.sampled_from(["linf", "l2"]))
@settings(max_examples=25, deadline=None)
def test_changes_stay_in_the_ball_and_the_range(seed, eps, norm):
    x = torch.rand((3, 3, 8, 8), generator=torch.Generator().manual_seed(seed)).round(decimals=1)
    model = SmallNet(seed)
    y = model(x).argmax(1)
    config = PGDConfig(norm=norm, eps=eps, steps=4, restarts=2, seed=seed)
    result = pgd(Classifier(model), x, y, config=config)
    delta = (result.x_adv.double() - x.double()).flatten(1)
    assert float((delta.abs().amax(1) if norm == "linf" else delta.norm(dim=1)).max()) <= eps + 1e-6
    assert 0 <= float(result.x_adv.min()) <= float(result.x_adv.max()) <= 1


def test_every_target_of_a_small_net_is_reached_with_enough_room():
    model, x = SmallNet(), torch.rand((20, 3, 8, 8), generator=torch.Generator().manual_seed(1))
    y = model(x).argmax(1)
    targets = (y + 1 + torch.arange(20) % 4) % 5
    result = pgd(Classifier(model), x, y, targets=targets, config=PGDConfig(eps=0.2, steps=40, restarts=3))
    assert result.success.all()
    assert torch.equal(result.predicted, targets)


def test_fooled_images_leave_and_the_others_start_again():
    model, x = SmallNet(), torch.rand((20, 3, 8, 8), generator=torch.Generator().manual_seed(1))
    y = model(x).argmax(1)
    result = pgd(Classifier(model), x, y, config=PGDConfig(eps=0.03, steps=5, restarts=2))
    assert 0 < int(result.success.sum()) < 20
    assert set(result.forwards[~result.success].tolist()) == {1 + 2 * 6}
    assert int(result.forwards[result.success].max()) <= 1 + 2 * 6
    assert int(result.forwards[result.success].min()) < 7


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"norm": "l1"}, "norm must be one of linf, l2"),
        ({"eps": 8.0}, r"eps must be in \(0, 1\].*write 0.03137"),
        ({"eps": -1.0, "norm": "l2"}, "eps must be positive"),
        ({"eps": float("nan"), "norm": "l2"}, "eps must be positive"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"restarts": 0}, "restarts must be at least 1"),
        ({"step_size": 0.0}, r"step_size must be in \(0, 2 \* eps\]"),
        ({"loss": "mse"}, "loss must be one of ce, dlr, margin"),
        ({"restarts": 2, "random_start": False}, "restarts must be 1 without random_start"),
    ],
)
def test_a_wrong_setting_is_refused(settings, words):
    with pytest.raises(InputError, match=words):
        PGDConfig(**settings)


def test_foolbox_finds_no_image_more_and_hardly_fewer(shared_data, shared_models):
    foolbox = pytest.importorskip("foolbox")
    classifier, x, y = right_images(shared_data, shared_models, "robust_resnet", 100)
    config = PGDConfig(steps=10, step_size=2 / 255, random_start=False)
    ours = pgd(classifier, x, y, config=config)
    with classifier:
        wrapped = foolbox.PyTorchModel(classifier.module, bounds=(0, 1), device="cpu")
        peer = foolbox.attacks.LinfPGD(steps=10, abs_stepsize=2 / 255, random_start=False)
        _, _, fooled = peer(wrapped, x, y, epsilons=8 / 255)
    assert not (fooled & ~ours.success).any()  # foolbox judges the last iterate of the same path, ours every iterate
    assert int((ours.success & ~fooled).sum()) <= 1
