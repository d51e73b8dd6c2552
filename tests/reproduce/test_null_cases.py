"""Null cases: random labels, permuted weights, noise and phase-scrambled images."""

from __future__ import annotations

import pytest
import torch
from tests.contract.nets import CLASSES, build, images
from torch import nn

from whywrong.core.errors import InputError
from whywrong.models.classifier import Classifier
from whywrong.reproduce.null_cases import (
    NULL_CASES,
    null_cases,
    permuted_classifier,
    phase_scrambled,
    random_labels,
)


@pytest.fixture
def data():
    x = images(40)
    with torch.no_grad():
        order = build("gap")(x).argsort(1, descending=True)
    return x, torch.where(torch.arange(40) % 4 == 0, order[:, 1], order[:, 0])  # ten errors


def test_each_case_asks_for_a_class_that_was_not_predicted(data):
    x, y = data
    cases = {case.name: case for case in null_cases(Classifier(build("gap")), x, y, most=16)}
    assert tuple(cases) == NULL_CASES
    for case in cases.values():
        assert (case.classifier.predict(case.x) != case.y).all(), case.name
        assert case.x.min() >= 0
        assert case.x.max() <= 1
        assert ((case.y >= 0) & (case.y < CLASSES)).all()


def test_errors_are_asked_about_several_random_labels_none_true_none_twice(data):
    x, y = data
    case = next(null_cases(Classifier(build("gap")), x, y, most=200))
    wrong = (Classifier(build("gap")).predict(x) != y).nonzero().flatten()
    assert len(case.x) == len(wrong) * (CLASSES - 2)
    assert (case.y != y[wrong].repeat(CLASSES - 2)).all()
    assert len({(i % len(wrong), label) for i, label in enumerate(case.y.tolist())}) == len(case.y)


def test_the_seed_is_0_unless_another_is_asked_for(data):
    default, zero, one = (
        next(null_cases(Classifier(build("gap")), *data, most=16, **seed)) for seed in ({}, {"seed": 0}, {"seed": 1})
    )
    assert torch.equal(default.y, zero.y)
    assert not torch.equal(default.y, one.y)


def test_labels_are_uniform_over_the_classes_not_avoided():
    labels = random_labels(5, torch.full((3000,), 1), torch.full((3000,), 4))
    share = torch.bincount(labels[:, 0], minlength=5) / 3000
    torch.testing.assert_close(share, torch.tensor([1 / 3, 0, 1 / 3, 1 / 3, 0]), atol=0.03, rtol=0)
    assert (labels[:, 3:].sort(1).values == torch.tensor([1, 4])).all()
    assert not torch.equal(labels, random_labels(5, torch.full((3000,), 1), torch.full((3000,), 4), seed=1))


def test_a_scrambled_image_keeps_its_spectrum_and_its_mean_and_loses_its_place():
    x = 0.5 + 0.02 * torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    scrambled = phase_scrambled(x)
    torch.testing.assert_close(torch.fft.fft2(scrambled).abs(), torch.fft.fft2(x).abs(), atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(scrambled.mean((2, 3)), x.mean((2, 3)))
    both = torch.stack([x.flatten(1) - x.mean(), scrambled.flatten(1) - x.mean()])
    assert nn.functional.cosine_similarity(*both).abs().max() < 0.3


def test_permuted_weights_hold_the_same_numbers_and_the_model_stays():
    net = build("gap")
    before = {name: value.clone() for name, value in net.state_dict().items()}
    permuted = permuted_classifier(Classifier(net), images(40))
    assert permuted.module is not None
    for name, value in permuted.module.named_parameters():
        assert torch.equal(value.flatten().sort().values, before[name].flatten().sort().values), name
    assert not torch.equal(permuted.module.head.weight, before["head.weight"])
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not net.training
    assert not any(part.training for part in permuted.module.modules())


def test_batch_normalisation_of_a_permuted_model_is_estimated_again():
    x = images(40)
    permuted = permuted_classifier(Classifier(build("gap"), batch_size=40), x)
    net = permuted.module
    assert net is not None
    with torch.no_grad():
        inner = net.conv1(x)
    torch.testing.assert_close(net.bn1.running_mean, inner.mean((0, 2, 3)), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(net.bn1.running_var, inner.var((0, 2, 3)), atol=1e-5, rtol=1e-4)


def test_a_callable_has_no_case_of_permuted_weights_and_two_classes_have_none_at_all(data):
    x, y = data
    net = build("gap")
    names = [case.name for case in null_cases(Classifier(net.__call__), x, y)]
    assert names == [name for name in NULL_CASES if name != "permuted weights"]
    with pytest.raises(InputError, match="at least 3 classes"):
        list(null_cases(Classifier(lambda images: net(images)[:, :2]), x, y.clamp_max(1)))
