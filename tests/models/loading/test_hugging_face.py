"""Models of transformers bring their classes and preprocessing; code and pickles in a folder are not run."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.data.objects.sets import write_folder

import whywrong as ww
from whywrong.cli import main
from whywrong.core.errors import InputError, ModelError
from whywrong.core.input_spec import InputSpec
from whywrong.core.preprocessing.image_processors import read_image_processor

transformers = pytest.importorskip("transformers", reason="the extra hf is not installed")

NAMES = {0: "a", 1: "b", 2: "c"}
SPEC = InputSpec(height=32, width=32, mean=(0.5,) * 3, std=(0.5,) * 3)


def make(**settings):
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8,
        **{"id2label": NAMES, "label2id": {v: k for k, v in NAMES.items()}, **settings},
    )  # fmt: skip
    return transformers.ViTForImageClassification(config).eval()


def processor(**settings):
    return transformers.ViTImageProcessor(size={"height": 32, "width": 32}, **settings)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """Nothing may be fetched: a folder on this machine is enough."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")

    def refuse(*args, **options):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("hf") / "vit"
    make().save_pretrained(path)
    processor().save_pretrained(path)
    return path


def test_a_saved_folder_brings_its_classes_and_its_preprocessing(folder):
    classifier = ww.load_classifier(f"hf:{folder}", device="cpu")
    assert classifier.classes.names == ("a", "b", "c")
    assert classifier.preprocess == SPEC
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8))
    with torch.no_grad():
        wanted = make()(**processor()(image, return_tensors="pt")).logits
    x = torch.from_numpy(np.asarray(image).transpose(2, 0, 1)[None].copy()).float() / 255
    assert torch.allclose(classifier.logits(x), wanted, atol=1e-5)
    assert classifier.access == ww.Access.INTERNALS
    assert classifier.recipe.build().identity == classifier.identity


def test_a_model_folder_and_an_image_folder_are_two_commands_to_a_report(folder, tmp_path, monkeypatch, capsys):
    images = write_folder(tmp_path / "images")
    run = tmp_path / "run"
    for words in (["check"], ["diagnose", "--out", str(run), "--methods", "cam", "--explain", "2"]):
        monkeypatch.setattr(sys, "argv", ["whywrong", words[0], f"hf:{folder}", str(images), *words[1:]])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 0
    assert (run / "report.html").is_file()
    assert "misclassifies" in capsys.readouterr().out


@pytest.mark.parametrize("given", ["folder", "processor", "pipeline"])
def test_a_model_object_is_taken_with_the_processor_that_is_found_or_given(folder, tmp_path, given):
    net = transformers.ViTForImageClassification.from_pretrained(folder) if given == "folder" else make()
    if given == "pipeline":
        net = transformers.pipeline("image-classification", model=net, image_processor=processor())
    if given == "processor":
        net = ww.load_classifier(net, preprocess=processor())
    images = write_folder(tmp_path / "images")
    by_name = ww.check(ww.load_classifier(f"hf:{folder}", device="cpu"), images)
    found = ww.check(net, images)
    assert (found.wrong, found.classes) == (by_name.wrong, 3)
    assert [error.predicted for error in found.errors] == [error.predicted for error in by_name.errors]


def test_a_model_object_without_a_processor_is_asked_for_it(tmp_path):
    with pytest.raises(InputError, match=r"does not carry its image processor: .*preprocess=processor"):
        ww.check(make(), write_folder(tmp_path / "images"))
    assert ww.load_classifier(make(), mean=(0.5,) * 3, std=(0.5,) * 3).preprocess == SPEC


def test_placeholder_names_are_no_names():
    classifier = ww.load_classifier(make(id2label={0: "LABEL_0", 1: "LABEL_1"}, label2id=None), preprocess=processor())
    assert classifier.classes is None


def test_a_model_of_timm_inside_brings_the_preprocessing_of_timm(tmp_path):
    config = transformers.TimmWrapperConfig(architecture="test_resnet", id2label=NAMES)
    transformers.TimmWrapperForImageClassification(config).save_pretrained(tmp_path)
    classifier = ww.load_classifier(f"hf:{tmp_path}", device="cpu")
    assert classifier.classes.names == ("a", "b", "c")
    assert (classifier.preprocess.height, classifier.preprocess.resize) == (160, 168)  # crop_pct 0.95


def test_a_backbone_is_refused(tmp_path):
    transformers.ViTModel(make().config).save_pretrained(tmp_path / "backbone")
    with pytest.raises(ModelError, match=r"no weights for classifier\.bias, classifier\.weight: it is a backbone"):
        ww.load_classifier(f"hf:{tmp_path / 'backbone'}")


def test_another_kind_of_model_is_refused(tmp_path):
    transformers.BertConfig(hidden_size=16).save_pretrained(tmp_path / "bert")
    with pytest.raises(ModelError, match="is a bert model, which transformers has no image classifier for"):
        ww.load_classifier(f"hf:{tmp_path / 'bert'}")


def test_pickled_weights_are_opened_by_our_own_reader_only(folder, tmp_path):
    net = make()
    net.config.save_pretrained(tmp_path)
    processor().save_pretrained(tmp_path)
    torch.save(net.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"holds no safetensors.*--weights pytorch_model\.bin"):
        ww.load_classifier(f"hf:{tmp_path}")
    classifier = ww.load_classifier(f"hf:{tmp_path}", weights=tmp_path / "pytorch_model.bin", device="cpu")
    assert classifier.identity == ww.load_classifier(f"hf:{folder}", device="cpu").identity


def test_code_in_the_folder_is_never_run(folder, tmp_path):
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Config"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "own.py").write_text("raise SystemExit('harm was done')")
    with pytest.raises(ModelError, match="is not a model of transformers that can be loaded"):
        ww.load_classifier(f"hf:{tmp_path}")


def test_damaged_weights_are_refused(folder, tmp_path):
    net = make()
    net.classifier.weight.data[0, 0] = torch.nan
    net.save_pretrained(tmp_path)
    processor().save_pretrained(tmp_path)
    with pytest.raises(ModelError, match=r'weight "classifier\.weight" holds NaN'):
        ww.load_classifier(f"hf:{tmp_path}")
    (tmp_path / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(ModelError, match="cannot be loaded"):
        ww.load_classifier(f"hf:{tmp_path}")


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("./nowhere", "no such folder"),
        ("/nowhere/at/all", "no such folder"),
        ("nobody/nothing", "neither a folder nor in the cache of transformers; pass --weights pretrained"),
    ],
)
def test_nothing_is_looked_for_on_the_network_unasked(name, text):
    with pytest.raises(InputError, match=text):
        ww.load_classifier(f"hf:{name}")


def test_without_a_processor_the_normalisation_is_asked_for(tmp_path):
    make().save_pretrained(tmp_path)
    with pytest.raises(InputError, match=r"holds no preprocessor_config\.json: pass --mean and --std"):
        ww.load_classifier(f"hf:{tmp_path}")
    classifier = ww.load_classifier(f"hf:{tmp_path}", mean=(0.5,) * 3, std=(0.5,) * 3, device="cpu")
    assert classifier.preprocess == SPEC


@pytest.mark.parametrize(
    ("made", "spec"),
    [
        (lambda t: t.ViTImageProcessor(), InputSpec(height=224, width=224, mean=(0.5,) * 3, std=(0.5,) * 3)),
        (
            lambda t: t.ViTImageProcessor(resample=0),
            InputSpec(height=224, width=224, interpolation="nearest", mean=(0.5,) * 3, std=(0.5,) * 3),
        ),
        (lambda t: t.ViTImageProcessor(do_normalize=False), InputSpec(height=224, width=224)),
        (
            lambda t: t.ConvNextImageProcessor(size={"shortest_edge": 224}),
            InputSpec(height=224, width=224, resize=256, interpolation="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3),
        ),
        (
            lambda t: t.BitImageProcessor(image_mean=[0.5] * 3, image_std=[0.5] * 3),
            InputSpec(height=224, width=224, resize=224, interpolation="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3),
        ),
    ],
    ids=["ViT", "nearest", "without", "ConvNeXT", "crop"],
)
def test_image_processors_are_read(made, spec):
    assert read_image_processor(made(transformers)) == spec


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (lambda t: t.DeiTImageProcessor(), "in a way that is not followed here"),
        (lambda t: t.LevitImageProcessor(), "in a way that is not followed here"),
        (lambda t: t.MobileViTImageProcessor(), "order of the channels"),
        (lambda t: t.ViTImageProcessor(rescale_factor=1 / 127.5), r"does not scale images to \[0, 1\]"),
        (lambda t: t.ViTImageProcessor(do_resize=False), "does not bring images to one size"),
        (lambda t: t.ViTImageProcessor(size={"shortest_edge": 224}), "does not bring images to one size"),
    ],
    ids=["stretch and crop", "its own resize", "BGR", "range", "no resize", "no crop"],
)
def test_image_processors_that_do_something_else_are_refused(made, text):
    with pytest.raises(InputError, match=text):
        read_image_processor(made(transformers))


def test_what_the_owner_states_counts_before_the_processor():
    spec = read_image_processor(transformers.DeiTImageProcessor(), {"resize": 256})
    assert (spec.height, spec.resize) == (224, 256)
    with pytest.raises(InputError, match="in a way that is not followed here"):
        read_image_processor(transformers.DeiTImageProcessor(), {"mean": (0.5,) * 3})
