"""Nets of torchvision give the logits of its own constructors with the same weights."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn
from torchvision.models._api import WeightsEnum

from whywrong.core.errors import InputError
from whywrong.models.loading.zoo import load_classifier


def random_state(name: str, training: Any) -> dict[str, torch.Tensor]:
    """Weights as they could have been published for a training: with all heads, and statistics that are not trivial."""
    torch.manual_seed(3)
    more = {"image_size": training.meta["min_size"][0]} if name.startswith("vit_") else {}
    more |= {"init_weights": False} if name in ("inception_v3", "googlenet") else {}
    state = torchvision.models.get_model(name, **more).state_dict()
    for key, value in state.items():  # in place: the versions of its layout stay with the state
        if "running" in key:
            value.uniform_(0.5, 1.5)
        elif value.is_floating_point():
            value += 0.01 * torch.randn_like(value)
    return state


def published(name: str, training: Any, monkeypatch, tmp_path) -> nn.Module:
    """Torchvision's own constructor with weights that lie in a file here."""
    state = random_state(name, training)
    torch.save(state, tmp_path / "w.pth")
    monkeypatch.setattr(WeightsEnum, "get_state_dict", lambda *_, **__: state)
    return torchvision.models.get_model(name, weights=training).eval()


def differs(ours: nn.Module, theirs: nn.Module, size: int) -> float:
    x = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return float((ours(x) - theirs(x)).abs().max())


@pytest.mark.parametrize(
    "name",
    ["inception_v3", "googlenet", "squeezenet1_1", "mnasnet0_5", "shufflenet_v2_x0_5", "resnet18.IMAGENET1K_V1"],
)
def test_logits_are_those_of_the_constructor_of_torchvision_with_these_weights(name, tmp_path, monkeypatch):
    plain, _, tag = name.partition(".")
    trainings = torchvision.models.get_model_weights(plain)
    training = trainings[tag] if tag else trainings.DEFAULT
    theirs = published(plain, training, monkeypatch, tmp_path)
    ours = load_classifier(f"torchvision:{name}", weights=tmp_path / "w.pth", batch_size=1)
    assert ours.module is not None
    assert differs(ours.module, theirs, ours.preprocess.height) == 0


@pytest.mark.parametrize("name", ["inception_v3", "googlenet"])
def test_the_rescaling_inside_the_network_is_said_and_counts_for_the_identity(name, tmp_path):
    state = random_state(name, torchvision.models.get_model_weights(name).DEFAULT)
    save_file(state, tmp_path / "all.safetensors")
    without_heads = {key: value for key, value in state.items() if not key.lower().startswith("aux")}
    save_file(without_heads, tmp_path / "plain.safetensors")  # as saved from torchvision's pretrained googlenet
    ours = [load_classifier(f"torchvision:{name}", weights=tmp_path / f, batch_size=1)
            for f in ("all.safetensors", "plain.safetensors")]  # fmt: skip
    assert ours[0].identity == ours[1].identity
    assert "transform_input=True" in ours[0].notes[0]
    assert ours[0].module.transform_input
    assert not load_classifier(f"torchvision:{name}", weights="random", batch_size=1).module.transform_input


def test_densenet_weights_load_under_the_names_they_were_published_with(tmp_path):
    import re

    module = torchvision.models.densenet121(num_classes=3)
    old = {
        re.sub(r"(denselayer\d+\.(?:norm|relu|conv))([12]\.)", r"\1.\2", key): value
        for key, value in module.state_dict().items()
    }
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    torch.save(old, tmp_path / "w.pth")
    ours = load_classifier("torchvision:densenet121", weights=tmp_path / "w.pth", classes=["a", "b", "c"], batch_size=1)
    assert differs(ours.module, module.eval(), 64) == 0


def facts(module: nn.Module) -> dict[str, Any]:
    """Everything plain that a forward pass may read."""
    found: dict[str, Any] = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    for name, part in module.named_modules():
        found |= {f"{name}.{k}": v for k, v in vars(part).items() if isinstance(v, (int, float, str, tuple))}
        found[f"{name} kind"] = type(part).__name__
    return {key: value for key, value in found.items() if not key.endswith(".training")}


def skipped(name: str) -> bool:
    return name.startswith("regnet")  # cannot be built without storage; its builder only loads


@pytest.mark.slow
@pytest.mark.parametrize("name", torchvision.models.list_models(module=torchvision.models))
def test_no_other_constructor_of_torchvision_changes_with_its_weights(name, monkeypatch):
    from whywrong.models.loading.torchvision_nets import _as_trained

    if skipped(name):
        pytest.skip("regnet computes widths while it is built")
    monkeypatch.setattr(nn.Module, "load_state_dict", lambda *_, **__: None)
    monkeypatch.setattr(WeightsEnum, "get_state_dict", lambda *_, **__: {})
    for training in torchvision.models.get_model_weights(name):
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            theirs = torchvision.models.get_model(name, weights=training)
            ours = torchvision.models.get_model(name, **_as_trained(name, training)[0])
        ours_facts, theirs_facts = facts(ours), facts(theirs)
        if name == "inception_v3":  # its training head is kept there, and never used
            theirs_facts = {k: v for k, v in theirs_facts.items() if "AuxLogits" not in k and k != ".aux_logits"}
            ours_facts.pop(".aux_logits")
        assert ours_facts == theirs_facts, training


def test_pretrained_weights_go_through_the_constructor_of_torchvision(tmp_path, monkeypatch):
    theirs = published("googlenet", torchvision.models.GoogLeNet_Weights.DEFAULT, monkeypatch, tmp_path)
    ours = load_classifier("torchvision:googlenet", weights="pretrained", batch_size=1)
    assert differs(ours.module, theirs, 224) == 0


@pytest.mark.parametrize("name", ["torchvision:resnet18", "torchvision:vit_b_16"])
def test_pretrained_weights_of_other_classes_are_refused(name):
    with pytest.raises(InputError, match=r"pretrained weights of .* have 1000 classes, 2 were given"):
        load_classifier(name, weights="pretrained", classes=["a", "b"])
