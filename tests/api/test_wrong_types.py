"""What people try first in a notebook ends in one sentence that says what to pass, before anything is computed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from PIL import Image
from torch import nn

import whywrong as ww
from whywrong.api import open_data
from whywrong.core.errors import InputError
from whywrong.data.sources import open_source


@pytest.fixture
def net() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(192, 2))


@pytest.fixture
def classifier(net) -> ww.Classifier:
    return ww.Classifier(net, classes=["cat", "dog"], preprocess=ww.InputSpec(height=8, width=8))


@pytest.fixture
def folder(tmp_path) -> Path:
    for name in ("cat", "dog"):
        (tmp_path / "d" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "d" / name / "0.png")
    return tmp_path / "d"


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (lambda net: "timm:resnet18", r'load it first, as whywrong\.load_classifier\("timm:resnet18"\)'),
        (lambda net: Path("net.py"), r"load_classifier\("),
        (lambda net: net.forward, "wrap it first"),
        (lambda net: None, "a NoneType: make one with"),
        (lambda net: {"model": net}, "a dict: make one with"),
        (type, "wrap it first"),
    ],
    ids=["name", "path", "function", "None", "dict", "class"],
)
def test_what_is_no_classifier_is_refused_by_every_door(net, folder, tmp_path, made, text):
    value = made(net)
    for call in (
        lambda: ww.diagnose(value, folder, tmp_path / "r"),
        lambda: ww.check(value, folder),
        lambda: ww.explain_image(value, folder / "cat" / "0.png", "cat", tmp_path / "r"),
        lambda: ww.plant(value, folder, tmp_path / "r"),
        lambda: ww.spurious_features(value, folder, tmp_path / "r"),
        lambda: ww.reproduce_claim("inverted.1", [value], folder),
    ):
        with pytest.raises(InputError, match=text):
            call()
    assert not (tmp_path / "r").exists()


def test_one_classifier_in_place_of_a_list_is_refused(classifier, folder):
    with pytest.raises(InputError, match="models must be a list of classifiers"):
        ww.reproduce_claim("inverted.1", classifier, folder)


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (lambda d: {"images": torch.rand(2, 3, 8, 8)}, "a dict: for images in memory, .*savez"),
        (lambda d: pd.DataFrame({"path": ["cat/0.png"]}), 'DataFrame: .*manifest="labels.csv"'),
        (lambda d: 7, "got .*int: give a path"),
        (lambda d: None, "got .*NoneType: give a path"),
    ],
)
def test_what_is_no_data_is_refused_by_every_door(classifier, folder, tmp_path, made, text):
    data = made(str(folder)) if folder else None
    for call in (
        lambda: ww.diagnose(classifier, data, tmp_path / "r"),
        lambda: ww.check(classifier, data),
        lambda: ww.load_images(data),
    ):
        with pytest.raises(InputError, match=text):
            call()


def test_an_open_source_takes_no_more_options(classifier, folder):
    with pytest.raises(InputError, match="leave out follow_links"):
        open_data(open_source(folder), follow_links=True, manifest=None)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"preprocess": (3, 8, 8)}, r"InputSpec\(channels=3, height=8, width=8\)"),
        ({"preprocess": torchvision.transforms.ToTensor()}, "transforms go to whywrong.load_classifier"),
        ({"preprocess": {"height": 8}}, r"must be a whywrong\.InputSpec, got dict"),
        ({"preprocess": 224}, r"must be a whywrong\.InputSpec, got int"),
        ({"access": "scores"}, r"whywrong\.Access\.SCORES"),
        ({"batch_size": "8"}, "batch_size must be a whole number"),
        ({"batch_size": 0}, "batch_size must be a whole number"),
        ({"classes": "cat,dog"}, "expected a list of names"),
        ({"classes": 2}, "expected a list of names"),
    ],
)
def test_arguments_of_a_classifier_are_refused_with_what_to_pass(net, arguments, text):
    with pytest.raises(InputError, match=text):
        ww.Classifier(net, **arguments)


@pytest.mark.parametrize(
    ("model", "text"), [("timm:resnet18", "load_classifier"), (None, "callable"), ({}, "callable")]
)
def test_a_classifier_needs_a_module_or_a_callable(model, text):
    with pytest.raises(InputError, match=text):
        ww.Classifier(model)


@pytest.mark.parametrize("model", [None, 7, lambda x: x])
def test_load_classifier_takes_names_and_modules_only(model):
    with pytest.raises(InputError, match=r"named by text.*whywrong\.Classifier"):
        ww.load_classifier(model)


@pytest.mark.parametrize(
    "arguments",
    [
        {"height": "8"},
        {"height": 8.0},
        {"channels": True},
        {"resize": "256"},
        {"mean": 0.5, "std": 0.5},
        {"mean": "0.5", "std": "0.5"},
        {"mean": (0.5, 0.5), "std": (0.5, 0.5)},
        {"mean": ("a", "b", "c"), "std": (1, 1, 1)},
    ],
)
def test_an_input_spec_refuses_other_types(arguments):
    with pytest.raises(InputError):
        ww.InputSpec(**{"height": 8, "width": 8, **arguments})


def test_an_input_spec_takes_numbers_of_numpy():
    spec = ww.InputSpec(height=np.int64(8), width=8, mean=tuple(np.float32([0.5] * 3)), std=(1, 1, 1))
    assert spec.height == 8


@pytest.mark.parametrize(
    "setting", [{"limit": "10"}, {"workers": 1.5}, {"seed": "a"}, {"methods": "cam"}, {"options": ["cam"]}]
)
def test_settings_of_a_run_refuse_other_types(classifier, folder, tmp_path, setting):
    with pytest.raises(InputError, match=next(iter(setting))):
        ww.diagnose(classifier, folder, tmp_path / "r", **setting)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda g: torch.rand(2, 3, 8, 8, generator=g) * 255, "divide by 255"),
        (lambda g: torch.randint(0, 256, (2, 3, 8, 8), generator=g).float(), "divide by 255"),
        (lambda g: torch.randn(2, 3, 8, 8, generator=g), "images before normalisation"),
        (lambda g: torch.rand(2, 3, 8, 8, generator=g) * 2 - 1, "images before normalisation"),
        (lambda g: (torch.rand(2, 3, 8, 8, generator=g) * 255).half(), "divide by 255"),
        (lambda g: torch.full((2, 3, 8, 8), 1.1), "clip them"),
        (lambda g: torch.full((2, 3, 8, 8), -0.1), "before normalisation"),
    ],
)
def test_images_that_are_not_in_0_1_are_refused_by_every_door(classifier, make, text):
    x = make(torch.Generator().manual_seed(0))
    labels_only = ww.Classifier(lambda v: [0] * len(v), classes=["a", "b"], output="labels")
    for call in (
        lambda: classifier.predict(x),
        lambda: classifier.logits(x),
        lambda: classifier.gradient(x, lambda logits, rows: logits[:, 0]),
        lambda: labels_only.predict(x),
    ):
        with pytest.raises(InputError, match=text):
            call()
    assert classifier.forwards == labels_only.forwards == 0


def test_rounding_and_empty_batches_are_no_fault(classifier):
    x = torch.tensor([1 + 1e-7, -1e-7]).view(2, 1, 1, 1).expand(2, 3, 8, 8)
    assert len(classifier.predict(x)) == 2
    assert len(classifier.predict(x[:0])) == 0


def test_bad_rows_are_still_singled_out_where_that_is_asked_for(classifier):
    x = torch.full((3, 3, 8, 8), 0.5)
    x[1] *= 255
    _, faults = classifier.logits_or_faults(x)
    assert list(faults) == [1]
