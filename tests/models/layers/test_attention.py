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


@pytest.mark.parametrize("widths", [{}, {"kdim": 12, "vdim": 12}], ids=["one projection", "three projections"])
def test_the_attention_layer_of_torch_divides_its_logits_by_the_temperature(widths):
    torch.manual_seed(0)
    layer = nn.MultiheadAttention(16, 2, batch_first=True, **widths).eval()
    nn.init.normal_(layer.in_proj_bias)
    q, k = torch.randn(3, 5, 16), torch.randn(3, 5, widths.get("kdim", 16))
    if widths:
        weights = [layer.q_proj_weight, layer.k_proj_weight, layer.v_proj_weight]
    else:
        weights = layer.in_proj_weight.split(16)
    inputs = zip((q, k, k), weights, layer.in_proj_bias.split(16), strict=True)
    heads = [(x @ w.T + b).view(3, 5, 2, 8).transpose(1, 2) for x, w, b in inputs]
    mixed = (heads[0] @ heads[1].transpose(2, 3) / 8**0.5 / 3).softmax(-1) @ heads[2]
    with SmoothedAttention(3.0) as seen:
        found = layer(q, k, k)[0]
    assert seen.layers == 1
    assert torch.allclose(found, layer.out_proj(mixed.transpose(1, 2).flatten(2)), atol=1e-5)
    assert not torch.allclose(found, layer(q, k, k)[0], atol=1e-2)


def test_an_encoder_of_torch_is_smoothed_in_every_layer_also_where_it_would_take_a_shortcut():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
    encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    x = torch.randn(3, 5, 16)
    with torch.no_grad():
        usual = encoder(x)
        with SmoothedAttention(1.0) as seen:
            assert torch.allclose(encoder(x), usual, atol=1e-5)
        assert seen.layers == 2
        with SmoothedAttention(5.0):
            assert not torch.allclose(encoder(x), usual, atol=1e-2)
