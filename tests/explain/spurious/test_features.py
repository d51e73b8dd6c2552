"""Features of images, and maps of components that add up."""

from __future__ import annotations

import pytest
import torch
from tests.explain.spurious.toys import NAMES, toy_classifier, toy_images
from torch import nn

from whywrong.core.errors import AccessError, InputError, ModelError
from whywrong.explain.spurious import NeuralPCAConfig, class_components, component_maps, image_features
from whywrong.explain.spurious.features import Features
from whywrong.models.classifier import Classifier
from whywrong.models.layers.last_layer import find_last_layer

CAT = NAMES.index("cat")


def components_of(classifier, x, index, config=None):
    features, _ = image_features(classifier, x, torch.full((len(x),), index))
    last = find_last_layer(classifier, tuple(x.shape[1:]))
    return class_components(
        features.phi, features.logits[:, index], last.weight[index], float(last.bias[index]), index, config=config
    )


def test_the_map_of_the_cue_lies_on_the_cue_and_adds_up():
    classifier = toy_classifier()
    x, label, _ = toy_images(40)
    parts = components_of(classifier, x[label == CAT], CAT)
    marked, _, cue = toy_images(4, (1.0, 1.0, 1.0), seed=3)
    maps = component_maps(classifier, marked, parts)
    assert cue.all()
    assert maps.exact
    torch.testing.assert_close(maps.maps.sum((2, 3)), maps.alpha, atol=1e-3, rtol=1e-4)
    assert float(maps.residual.max()) < 1e-5
    first = maps.maps[:, 0].clamp_min(0)
    share = first[:, :4, :4].sum((1, 2)) / first.sum((1, 2))
    assert float(share.min()) > 0.99


@pytest.mark.parametrize("norm", ["layer", "batch"])
def test_maps_add_up_behind_a_normalisation_too(norm):
    torch.manual_seed(0)
    middle = nn.LayerNorm(12) if norm == "layer" else nn.BatchNorm1d(12)
    with torch.no_grad():
        middle.weight.uniform_(0.5, 2)
        middle.bias.uniform_(-1, 1)
    net = nn.Sequential(nn.Conv2d(3, 12, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), middle, nn.Linear(12, 4))
    net.eval()
    classifier = Classifier(net)
    x = torch.rand(30, 3, 10, 10)
    maps = component_maps(classifier, x, components_of(classifier, x, 1))
    assert maps.exact
    assert float(maps.residual.max()) < 1e-4


def test_a_class_token_gets_approximate_maps_and_counts_its_gradients(shared_models):
    classifier = Classifier(shared_models("deit_tiny"), batch_size=4)
    x = torch.rand(6, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    config = NeuralPCAConfig(min_images=3, components=2)
    parts = components_of(classifier, x, 5, config)
    before = classifier.forwards
    maps = component_maps(classifier, x[:2], parts)
    assert not maps.exact
    assert maps.maps.shape == (2, 2, 14, 14)
    assert maps.maps.abs().sum() > 0
    missing = (maps.maps.sum((2, 3)) - maps.alpha).abs()
    torch.testing.assert_close(maps.residual, missing / maps.maps.abs().sum((2, 3)))
    assert float(maps.residual.max()) > 1e-3
    assert (classifier.forwards - before, classifier.backwards) == (2, 4)


def test_bad_images_are_named_and_their_neighbours_kept():
    classifier = toy_classifier()
    x, label, _ = toy_images(2)
    x[1, 0, 0, 0], x[4, 0, 0, 0] = torch.nan, 7.0
    features, reasons = image_features(classifier, x, label)
    assert reasons == dict.fromkeys((1, 4), "pixels are not finite or outside [0, 1]")
    good = [0, 2, 3, 5]
    assert features.label.tolist() == label[good].tolist()
    torch.testing.assert_close(features.logits, classifier.logits(x[good]))


def test_features_count_one_pass_an_image_and_any_split_gives_the_same():
    x, label, _ = toy_images(5)
    one, many = toy_classifier(batch_size=64), toy_classifier(batch_size=4)
    whole, parts = image_features(one, x, label)[0], image_features(many, x, label)[0]
    torch.testing.assert_close(whole.phi, parts.phi)
    assert one.forwards == many.forwards == len(x)  # the made-up image is not counted


class Softmaxed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))

    def forward(self, x):
        return self.body(x).softmax(1)


def test_a_model_without_a_linear_last_layer_is_refused_by_name_with_the_remedy():
    with pytest.raises(ModelError, match=r"Softmaxed has no linear last layer .* give a loader file"):
        image_features(Classifier(Softmaxed()), torch.rand(2, 3, 8, 8), torch.zeros(2, dtype=torch.int64))


def test_a_model_that_returns_probabilities_is_refused():
    with pytest.raises(ModelError, match="without a softmax"):
        image_features(
            Classifier(Softmaxed(), output="probabilities"), torch.rand(2, 3, 8, 8), torch.zeros(2, dtype=torch.int64)
        )


def test_a_plain_function_grants_no_features():
    classifier = Classifier(lambda x: x.mean((2, 3)))
    with pytest.raises(AccessError, match="INTERNALS"):
        image_features(classifier, torch.rand(2, 3, 8, 8), torch.zeros(2, dtype=torch.int64))


def test_labels_of_another_length_are_refused():
    with pytest.raises(InputError, match="2 images came with labels"):
        image_features(toy_classifier(), torch.rand(2, 3, 8, 8), torch.zeros(3, dtype=torch.int64))


def test_one_logit_is_read_as_two_classes():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 1))
    classifier = Classifier(net, output="binary")
    x = torch.rand(25, 3, 8, 8)
    parts = components_of(classifier, x, 1)
    assert parts.residual < 1e-5
    assert components_of(classifier, x, 0).eigenvalues.abs().max() == 0


def test_a_convolution_of_size_one_before_the_mean_is_a_last_layer_too():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    classifier = Classifier(net)
    parts = components_of(classifier, torch.rand(25, 3, 8, 8), 2)
    assert parts.residual < 1e-5


@pytest.mark.parametrize("index", range(4))
def test_taking_from_one_logit_gives_what_the_changed_logits_say(index):
    generator = torch.Generator().manual_seed(index)
    logits = torch.randn(200, 4, generator=generator) * 6
    less = torch.rand(200, generator=generator) * 8
    features = Features(torch.zeros(200, 1), logits, torch.zeros(200, dtype=torch.int64))
    changed = logits.clone()
    changed[:, index] -= less
    assert torch.equal(features.without(index, less), changed.argmax(1))
    assert int((features.predicted != changed.argmax(1)).sum()) > 10
    torch.testing.assert_close(features.chance(index, less), changed.double().softmax(1)[:, index])
    torch.testing.assert_close(features.chance(index), logits.double().softmax(1)[:, index])
