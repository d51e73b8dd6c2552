"""Nets of timm: which training is meant, and backbones, which are no classifiers."""

from __future__ import annotations

import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from whywrong.core.errors import InputError, ModelError
from whywrong.models.loading.zoo import load_classifier


def differs(ours: nn.Module, theirs: nn.Module, size: int) -> float:
    x = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return float((ours(x) - theirs(x)).abs().max())


@pytest.mark.parametrize("name", ["timm:test_resnet.r160_in1k", "timm:resnet18"])
def test_pretrained_weights_of_other_classes_are_refused(name):
    with pytest.raises(InputError, match=r"pretrained weights of .* have 1000 classes, 2 were given"):
        load_classifier(name, weights="pretrained", classes=["a", "b"])


# Backbones


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("eva02_tiny_patch14_224.mim_in22k", "its features"),
        ("vit_small_patch14_dinov2.lvd142m", "its features"),
        ("vit_small_patch14_dinov2", "its features"),
        ("vit_base_patch16_224.mae", "its features"),
        ("convnextv2_atto.fcmae", "its features"),
        ("vit_base_patch16_siglip_224.webli", "its features"),
        ("vit_base_patch32_clip_224.openai", "the embedding of 512 numbers"),
        ("resnet50_clip.openai", "the embedding of 1024 numbers"),
        ("convnext_base.clip_laion2b", "the embedding of 640 numbers"),
    ],
)
@pytest.mark.parametrize("weights", ["random", "w.safetensors", "pretrained"])
def test_a_backbone_of_timm_is_refused_with_the_remedy(name, what, weights):
    with pytest.raises(
        InputError, match=rf"timm:{name} is a backbone .*returns {what}, which are no classes.*--classes"
    ):
        load_classifier(f"timm:{name}", weights=weights)


def test_the_refusal_names_trainings_with_a_classifier():
    with pytest.raises(InputError, match=r"Trainings with a classifier: timm:vit_base_patch16_224.\w+_in1k"):
        load_classifier("timm:vit_base_patch16_224.mae", weights="random")


def test_an_unknown_training_of_timm_lists_those_that_there_are():
    with pytest.raises(InputError, match=r"timm:test_resnet has no training r999; there are: r160_in1k"):
        load_classifier("timm:test_resnet.r999", weights="random")


def test_a_backbone_with_a_head_trained_on_given_classes_loads(tmp_path):
    module = timm.create_model("convnextv2_atto.fcmae", num_classes=2)
    save_file(module.state_dict(), tmp_path / "w.safetensors")
    ours = load_classifier("timm:convnextv2_atto.fcmae", weights=tmp_path / "w.safetensors", classes=["a", "b"])
    assert differs(ours.module, module.eval(), 64) == 0


def test_a_file_without_the_head_names_what_is_missing(tmp_path):
    module = timm.create_model("convnextv2_atto.fcmae", num_classes=0)
    save_file(module.state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match=r'"head.fc.weight" is missing'):
        load_classifier("timm:convnextv2_atto.fcmae", weights=tmp_path / "w.safetensors", classes=["a", "b"])


# Trainings of timm


def test_a_name_without_a_training_says_which_preparation_is_assumed(tmp_path):
    save_file(timm.create_model("mobilenetv3_small_050").state_dict(), tmp_path / "one.safetensors")
    one = load_classifier("timm:mobilenetv3_small_050", weights=tmp_path / "one.safetensors", batch_size=1)
    assert one.notes == ()
    save_file(timm.create_model("vit_tiny_patch16_224").state_dict(), tmp_path / "w.safetensors")
    plain = load_classifier("timm:vit_tiny_patch16_224", weights=tmp_path / "w.safetensors", batch_size=1)
    named = load_classifier("timm:vit_tiny_patch16_224.augreg_in21k_ft_in1k", weights=tmp_path / "w.safetensors",
                            batch_size=1)  # fmt: skip
    assert named.notes == ()
    assert plain.preprocess == named.preprocess


@pytest.mark.parametrize("name", ["mobilenetv3_large_100", "resnet50", "efficientnet_b0"])
def test_trainings_that_differ_in_preparation_are_noted(name):
    from whywrong.models.loading.timm_nets import _assumed_training

    stated = {"input_size": (3, 224, 224), "crop_pct": 0.9, "interpolation": "bicubic", "mean": (0.5,), "std": (0.5,)}
    (note,) = _assumed_training(name, "w.pt", stated)
    assert f"several trainings of {name}" in note
    assert f"timm:{name}.TAG" in note
    assert _assumed_training(name + ".tag", "w.pt", stated) == []


@pytest.mark.parametrize("name", ["tf_efficientnet_b0", "tf_mobilenetv3_small_minimal_100"])
def test_nets_ported_from_tensorflow_keep_their_padding(name, tmp_path):
    torch.manual_seed(1)
    theirs = timm.create_model(name).eval()
    save_file(theirs.state_dict(), tmp_path / "w.safetensors")
    ours = load_classifier(f"timm:{name}", weights=tmp_path / "w.safetensors", batch_size=1)
    assert differs(ours.module, theirs, 64) == 0
    assert any("Same" in type(part).__name__ for part in ours.module.modules())


def test_classes_of_larger_subsets_of_imagenet_are_named():
    classes = load_classifier("timm:mobilenetv3_large_100.miil_in21k", weights="random", batch_size=1).classes
    assert classes is not None
    assert len(classes) == 11221
    assert classes.wnids is not None
    assert classes.wnids[0].startswith("n")
