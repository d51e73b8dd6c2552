"""Smoothed attention: a temperature of 1 changes nothing, a large one makes attention uniform."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from whywrong.core.errors import InputError, ModelError
from whywrong.core.input_spec import InputSpec
from whywrong.models.classifier import Classifier
from whywrong.models.layers.attention import SmoothedAttention, with_temperature


class Fused(nn.Module):
    """Attention over the pixels of an image, fused or written out, then one logit per channel."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.fused = fused

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = 9 * x.flatten(2).transpose(1, 2)[:, None]
        if self.fused:
            mixed = nn.functional.scaled_dot_product_attention(tokens, tokens, tokens)
        else:
            scores = tokens @ tokens.transpose(-2, -1) * tokens.shape[-1] ** -0.5
            mixed = scores.softmax(-1) @ tokens
        return mixed[:, 0, 0]


def classifier(fused: bool) -> Classifier:
    return Classifier(Fused(fused), classes=["a", "b", "c"], preprocess=InputSpec(height=4, width=4))


def pixels() -> torch.Tensor:
    return torch.rand(3, 3, 4, 4, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("fused", [True, False])
def test_one_changes_nothing_and_a_large_temperature_averages_the_tokens(fused):
    model = classifier(fused)
    assert torch.allclose(with_temperature(model, 1.0).logits(pixels()), model.logits(pixels()), atol=1e-5)
    flat = with_temperature(model, 1e6).logits(pixels())
    assert torch.allclose(flat, 9 * pixels().flatten(2).mean(2), atol=1e-3)
    assert not torch.allclose(flat, model.logits(pixels()), atol=0.1)


def test_gradients_are_those_of_the_smoothed_model():
    model = with_temperature(classifier(True), 1e6)
    _, _, grad = model.gradient(pixels(), lambda logits, _: logits[:, 0])
    assert torch.allclose(grad[:, 0], torch.full((3, 4, 4), 9 / 16), atol=1e-3)
    assert grad[:, 1:].abs().max() < 1e-2


def test_the_given_classifier_stays_as_it_was_and_the_two_have_different_identities():
    model = classifier(True)
    before = model.logits(pixels())
    smooth = with_temperature(model, 3.0)
    smooth.logits(pixels())
    assert torch.equal(model.logits(pixels()), before)
    assert smooth.identity != model.identity != with_temperature(model, 2.0).identity


def test_a_softmax_over_classes_is_no_attention():
    with SmoothedAttention(2.0) as seen:
        torch.rand(2, 5).softmax(1)
    assert seen.layers == 0


def test_a_model_without_attention_and_bad_temperatures_are_refused():
    net = nn.Sequential(nn.Flatten(), nn.Linear(48, 3))
    plain = Classifier(net, classes=["a", "b", "c"], preprocess=InputSpec(height=4, width=4))
    with pytest.raises(ModelError, match="no attention"):
        with_temperature(plain, 2.0).logits(pixels())
    for bad in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(InputError, match="temperature"):
            with_temperature(plain, bad)
