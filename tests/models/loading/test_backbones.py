"""Modules without a classifier: their features are never taken for classes."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from whywrong.core.errors import ModelError
from whywrong.models.checks.health import probe
from whywrong.models.classifier import Classifier

X = torch.rand(12, 3, 32, 32, generator=torch.Generator().manual_seed(0))
Y = torch.arange(12) % 3


def beheaded() -> nn.Module:
    net = torchvision.models.resnet18()
    net.fc = nn.Identity()
    return net


def pooled() -> nn.Module:
    return nn.Sequential(*list(torchvision.models.resnet18().children())[:-1], nn.Flatten())


def of_timm(name: str, **options: int) -> nn.Module:
    return timm.create_model(name, num_classes=0, **options)


class Hidden(nn.Module):
    """The pooled part of an answer like those of Hugging Face."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 48, 4, 4), nn.LayerNorm(48)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        tokens = self.norm(self.conv(x).flatten(2).transpose(1, 2))
        return {"last_hidden_state": tokens, "pooler_output": torch.tanh(tokens[:, 0])}


BACKBONES = {
    "resnet without its last layer": beheaded,
    "children of a resnet": pooled,
    "resnet of timm": lambda: of_timm("resnet10t"),
    "transformer of timm": lambda: of_timm("test_vit", img_size=32),
    "convnext of timm": lambda: of_timm("test_convnext"),
    "efficientnet of timm": lambda: of_timm("test_efficientnet"),
    "mobilenet of timm": lambda: of_timm("mobilenetv3_small_050"),
}


def findings(model: nn.Module, **options) -> dict[str, tuple[str, str]]:
    torch.manual_seed(0)
    return {f.name: (f.level, f.text) for f in probe(Classifier(model.eval(), **options), X, Y).findings}


@pytest.mark.parametrize("name", BACKBONES)
def test_features_stop_with_the_remedy(name):
    level, text = findings(BACKBONES[name]())["features"]
    assert level == "stop"
    assert "look like the features of a backbone" in text
    assert "--classes" in text


@pytest.mark.parametrize("key", ["pooler_output", "last_hidden_state"])
def test_a_hidden_part_that_was_asked_for_stops(key):
    if key == "pooler_output":
        assert findings(Hidden(), output=f"key:{key}")["features"][0] == "stop"
    else:
        assert "dense" in findings(Hidden(), output=f"key:{key}")["answer"][1]


def test_without_labels_features_are_warned_about():
    (finding,) = (f for f in probe(Classifier(beheaded().eval()), X).findings if f.name == "features")
    assert finding.level == "warn"


def test_outputs_that_their_owner_names_are_classes():
    names = [f"class {number}" for number in range(512)]
    assert "features" not in findings(beheaded(), classes=names)


@pytest.mark.parametrize("classes", [3, 40, 600])
def test_a_classifying_layer_is_no_backbone(classes):
    assert "features" not in findings(torchvision.models.resnet18(num_classes=classes))


class Pooled(nn.Module):
    """Pools straight into its classes, as SqueezeNet does, and is right."""

    def forward(self, x: Tensor) -> Tensor:
        codes = x.mean((1, 2, 3)).mul(40).round().long()
        return nn.functional.one_hot(codes, 41).float()[:, :, None].expand(-1, -1, 2).mul(x.mean() / x.mean()).mean(2)


def test_pooled_scores_that_are_right_are_classes():
    levels = torch.linspace(0, 1, 41)
    x = levels.view(-1, 1, 1, 1).expand(-1, 3, 8, 8).contiguous()
    report = probe(Classifier(Pooled()), x, torch.arange(41))
    assert report.accuracy == 1.0
    assert "features" not in [finding.name for finding in report.findings]


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (lambda x: {"last_hidden_state": x}, "give the model with its classifier"),
        (
            lambda x: SimpleNamespace(last_hidden_state=x),
            "the features of a backbone; give the model with its classifier",
        ),
        (lambda x: x.mean((2, 3), keepdim=True), "dense or multi-label output is not classification"),
        (lambda x: [x, x], "say which part holds the logits"),
    ],
)
def test_answers_of_base_models_name_the_remedy(answer, text):
    with pytest.raises(ModelError, match=text):
        Classifier(answer).logits(X)
