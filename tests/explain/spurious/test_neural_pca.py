"""Class-wise neural PCA against the formula, against known directions, and on real nets."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from whywrong.core.errors import InputError
from whywrong.explain.spurious import NeuralPCAConfig, class_components, image_features
from whywrong.models.classifier import Classifier
from whywrong.models.layers.last_layer import find_last_layer


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def components(phi, weight, bias=0.3, **settings):
    config = NeuralPCAConfig(components=settings.pop("components", 200), min_images=3)
    return class_components(phi, phi @ weight + bias, weight, bias, 0, config=config)


@settings(max_examples=25, deadline=None)
@given(images=st.integers(3, 60), width=st.integers(1, 40), seed=st.integers(0, 999))
def test_components_and_base_add_up_to_the_logit(images, width, seed):
    phi, weight = normal(images, width, seed=seed).double(), normal(width, seed=seed + 1).double()
    found = components(phi, weight)
    logit = phi @ weight + 0.3
    torch.testing.assert_close(found.base + found.alphas(phi).sum(1), logit, atol=1e-9, rtol=1e-7)
    assert found.residual < 1e-6


@pytest.mark.parametrize("images", [12, 200])
def test_base_alphas_and_rest_give_the_logit_of_any_image(images):
    phi, weight = normal(images, 30), normal(30, seed=1)
    found = components(phi, weight, components=4)
    other = normal(50, 30, seed=2)
    total = found.base + found.alphas(other).sum(1) + found.rest(other)
    torch.testing.assert_close(total, (other.double() @ weight.double() + 0.3), atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("images", [12, 200])
def test_directions_are_those_of_the_covariance_by_a_plain_second_writing(images):
    phi, weight = normal(images, 20), normal(20, seed=1)
    found = components(phi, weight, components=5)
    psi = (phi.double() * weight.double()).numpy()
    values, vectors = np.linalg.eigh(np.cov(psi.T, bias=True))
    np.testing.assert_allclose(found.eigenvalues, values[::-1][:5], rtol=1e-9)
    np.testing.assert_allclose(found.share, values[::-1][:5] / values.sum(), rtol=1e-9)
    for number in range(5):
        v = vectors[:, -1 - number]
        alpha = v.sum() * (psi - psi.mean(0)) @ v  # the sign of v is without meaning
        np.testing.assert_allclose(found.alphas(phi)[:, number], alpha, atol=1e-9)
        np.testing.assert_allclose(found.spread[number], alpha.std(), rtol=1e-9)


def test_a_cue_that_varies_most_is_the_first_component():
    cue = (torch.arange(60) % 2).float()
    phi = torch.stack([1 + 0.1 * normal(60), 3 * cue, 0.1 * normal(60, seed=2)], 1)
    weight = torch.tensor([2.0, 1.0, 0.5])
    found = components(phi, weight)
    torch.testing.assert_close(found.directions[0].abs(), torch.tensor([0.0, 1.0, 0.0]).double(), atol=0.05, rtol=0)
    alpha = found.alphas(phi)[:, 0]
    gap = alpha[cue > 0].mean() - alpha[cue == 0].mean()
    assert float(gap) == pytest.approx(3.0, abs=0.1)  # what the cue adds to the logit


def test_identical_images_have_components_of_no_variance():
    found = components(torch.ones(10, 4), normal(4))
    assert found.eigenvalues.abs().max() < 1e-20
    assert found.share.tolist() == [0.0] * len(found)


@pytest.mark.parametrize(
    ("phi", "said"),
    [
        (normal(5, 4), "needs at least 20"),
        (torch.full((30, 4), torch.nan), "not finite"),
        (normal(30, 5), "do not fit"),
    ],
)
def test_what_cannot_be_split_is_refused(phi, said):
    with pytest.raises(InputError, match=said):
        class_components(phi, torch.zeros(len(phi)), torch.ones(4), 0.0, 2)


def test_settings_out_of_range_are_refused():
    with pytest.raises(InputError, match="components must be at least 1"):
        NeuralPCAConfig(components=0)
    with pytest.raises(InputError, match="min_images must be at least 3"):
        NeuralPCAConfig(min_images=2)


def test_the_split_holds_on_a_random_net():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5))
    classifier = Classifier(net)
    x = torch.rand(40, 3, 12, 12)
    features, _ = image_features(classifier, x, torch.zeros(40, dtype=torch.int64))
    last = find_last_layer(classifier, (3, 12, 12))
    found = class_components(features.phi, features.logits[:, 2], last.weight[2], float(last.bias[2]), 2)
    assert found.residual < 1e-5
    torch.testing.assert_close(features.logits, classifier.logits(x))


@pytest.mark.parametrize(("net", "size"), [("resnet20", 32), ("mobilenetv2", 224), ("deit_tiny", 224)])
def test_the_split_holds_on_trained_nets(shared_models, net, size):
    classifier = Classifier(shared_models(net), batch_size=8)
    x = torch.rand(24 if size == 32 else 8, 3, size, size, generator=torch.Generator().manual_seed(0))
    features, left_out = image_features(classifier, x, torch.zeros(len(x), dtype=torch.int64))
    last = find_last_layer(classifier, (3, size, size))
    index = int(features.predicted[0])
    config = NeuralPCAConfig(min_images=3, components=3)
    found = class_components(
        features.phi, features.logits[:, index], last.weight[index], float(last.bias[index]), index, config=config
    )
    assert left_out == {}
    assert found.residual < 1e-4
    total = found.base + found.alphas(features.phi).sum(1) + found.rest(features.phi)
    scale = (features.phi.double() * last.weight[index].double()).abs().sum(1)
    assert ((total - features.logits[:, index]).abs() / scale).max() < 1e-4


def test_the_residual_is_that_of_the_image_whose_logit_is_missed_most():
    phi, weight = normal(12, 5).double(), normal(5, seed=1).double()
    logit = phi @ weight + 0.3
    logit[7] += 2.0
    found = class_components(phi, logit, weight, 0.3, 0, config=NeuralPCAConfig(components=9, min_images=3))
    size = (phi[7] * weight).abs().sum() + 0.3
    assert found.residual == pytest.approx(2.0 / float(size), rel=1e-6)
