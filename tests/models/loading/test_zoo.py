"""From a name to a classifier: preprocessing, classes, identity, recipes, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import math
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from whywrong.core.access import Access
from whywrong.core.classes import ClassList
from whywrong.core.errors import InputError, ModelError
from whywrong.core.input_spec import InputSpec
from whywrong.models.loading.zoo import load_classifier

SOURCE = """
import torch
from torch import nn
from helper import CLASSES

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.fc = nn.Linear(12, 3)

    def forward(self, x):
        return self.fc(x.flatten(1))

def build():
    net = Net()
    net.input_size, net.classes, net.resize, net.interpolation = (3, 2, 2), CLASSES, 4, "bicubic"
    return net

def bare():
    return Net()

def scores():
    def predict(x):
        return x.mean((2, 3)).numpy()
    predict.input_size = (3, 2, 2)
    return predict

def labels():
    def predict(x):
        return [1] * len(x)
    predict.input_size = (3, 2, 2)
    return predict

def broken():
    raise OSError("disk on fire")

def number():
    return 7

def with_arguments(depth):
    return Net()
"""


@pytest.fixture
def model_file(tmp_path) -> Path:
    (tmp_path / "helper.py").write_text('CLASSES = ["cat", "dog", "frog"]\n')
    path = tmp_path / "my models.py"
    path.write_text(SOURCE)
    yield path
    sys.modules.pop("helper", None)


X = torch.rand(2, 3, 2, 2, generator=torch.Generator().manual_seed(0))


# Files


def test_a_module_from_a_file_brings_its_preprocessing_and_classes(model_file):
    path = list(sys.path)
    classifier = load_classifier(f"{model_file}:build")
    assert classifier.preprocess == InputSpec(height=2, width=2, resize=4, interpolation="bicubic")
    assert classifier.classes == ClassList(("cat", "dog", "frog"))
    assert classifier.access == Access.INTERNALS
    with torch.no_grad():
        torch.testing.assert_close(classifier.logits(X), classifier.module(X))
    assert classifier.forwards == 2
    assert sys.path == path


def test_options_override_what_the_module_says(model_file):
    classifier = load_classifier(
        f"{model_file}:build",
        resize=0,
        interpolation="nearest",
        mean=(0.5,) * 3,
        std=(2,) * 3,
        classes=["a", "b", "c"],
        access="scores",
        batch_size=5,
    )
    expected = InputSpec(height=2, width=2, interpolation="nearest", mean=(0.5,) * 3, std=(2.0,) * 3)
    assert classifier.preprocess == expected
    assert classifier.classes is not None
    assert (classifier.classes.names, classifier.access, classifier.batch_size) == (("a", "b", "c"), Access.SCORES, 5)


@pytest.mark.parametrize(
    ("function", "error", "text"),
    [
        ("bare", InputError, r"does not say its input size: set input_size = \(3, 224, 224\)"),
        ("broken", ModelError, r"broken\(\) raised OSError: disk on fire"),
        ("number", ModelError, "must return a module or a callable, got int"),
        ("with_arguments", InputError, "takes arguments"),
        ("nothing", InputError, 'no function "nothing"; it has: build, bare, scores'),
    ],
)
def test_a_file_that_gives_no_model_stops_with_the_reason(model_file, function, error, text):
    with pytest.raises(error, match=text):
        load_classifier(f"{model_file}:{function}")


def test_the_input_size_of_a_bare_module_can_be_passed(model_file):
    classifier = load_classifier(f"{model_file}:bare", input_size=(3, 2, 2))
    assert classifier.logits(X).shape == (2, 3)
    assert classifier.classes is not None  # counted from the probe of the batch size


def test_callables_from_a_file_are_scores_or_labels_only(model_file):
    scores = load_classifier(f"{model_file}:scores")
    assert scores.access == Access.SCORES
    torch.testing.assert_close(scores.logits(X), X.mean((2, 3)))
    labels = load_classifier(f"{model_file}:labels", output="labels")
    assert labels.access == Access.LABELS
    assert labels.predict(X).tolist() == [1, 1]


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_weights_go_into_a_module_from_a_file(model_file, tmp_path, suffix):
    state = {"fc.weight": torch.eye(3, 12), "fc.bias": torch.zeros(3)}
    path = tmp_path / f"w.{suffix}"
    save_file(state, path) if suffix == "safetensors" else torch.save(state, path)
    classifier = load_classifier(f"{model_file}:build", weights=path)
    torch.testing.assert_close(classifier.logits(X), X.flatten(1)[:, :3])


@pytest.mark.parametrize("weights", ["random", "pretrained"])
def test_a_file_knows_no_named_weights(model_file, weights):
    with pytest.raises(InputError, match="safetensors or state-dict file"):
        load_classifier(f"{model_file}:build", weights=weights)


def test_a_file_that_fails_on_import_is_named(tmp_path):
    (tmp_path / "bad.py").write_text("import does_not_exist_here")
    with pytest.raises(ModelError, match=r"bad.py raised ModuleNotFoundError"):
        load_classifier(f"{tmp_path}/bad.py:build")


@pytest.mark.parametrize(
    ("model", "text"),
    [
        ("resnet50", "must be named as planted:NAME, timm:NAME, torchvision:NAME, hf:FOLDER, FILE.py:FUNCTION"),
        ("tim:resnet50", 'unknown scheme "tim:"; nearest: "timm"; the schemes are planted:, timm:, .* planted:NAME'),
        ("folder:odd.onnx", "no ONNX model at .*/folder:odd.onnx"),
        ("nowhere.py:build", "no Python file"),
        ("nowhere.py", "say which function"),
        ("model.onnx", "no ONNX model"),
        ("weights.safetensors", "does not say the architecture"),
        ("model.pt", "no model at"),
        ("model.pth", "never opened"),
        ("timm:no_such_net", 'timm has no model "no_such_net"'),
        ("timm:resnet_18", 'nearest: "resnet18"'),
        ("timm:resnet18", "nothing is downloaded unasked.*random"),
        ("torchvision:no_such_net", 'torchvision has no model "no_such_net"'),
        ("torchvision:resnet18", "nothing is downloaded unasked"),
    ],
)
def test_what_cannot_be_loaded_is_asked_for(model, text):
    with pytest.raises(InputError, match=text):
        load_classifier(model)


def test_a_bad_access_level_names_the_levels(model_file):
    with pytest.raises(InputError, match="labels, top, scores, gradients, internals"):
        load_classifier(f"{model_file}:build", access="everything")


# Classes


def test_names_that_are_passed_win_over_broken_ones_of_the_file(model_file):
    (model_file.parent / "helper.py").write_text('CLASSES = {0: "cat", 2: "dog"}\n')
    with pytest.raises(ModelError, match=r"1 is missing.*--classes"):
        load_classifier(f"{model_file}:build")
    given = {"ant": 1, "dog": 2, "zebra": 0}
    assert load_classifier(f"{model_file}:build", classes=given).classes == ClassList(("zebra", "ant", "dog"))


def test_classes_come_from_a_json_file_too(model_file, tmp_path):
    records = [{"index": i, "name": "abc"[i], "wnid": f"n{i}"} for i in (1, 0, 2)]
    path = tmp_path / "classes.json"
    path.write_text(json.dumps(records))
    assert load_classifier(f"{model_file}:build", classes=path).classes == ClassList(
        ("a", "b", "c"), ("n0", "n1", "n2")
    )
    path.write_text("{}")
    with pytest.raises(InputError, match="list of names"):
        load_classifier(f"{model_file}:build", classes=path)


# timm and torchvision


def test_timm_preprocessing_and_classes_follow_the_name():
    classifier = load_classifier("timm:mobilenetv3_small_050.lamb_in1k", weights="random", batch_size=1)
    spec = classifier.preprocess
    assert spec is not None
    assert (spec.channels, spec.height, spec.width, spec.interpolation) == (3, 224, 224, "bicubic")
    assert spec.resize == math.floor(224 / 0.875) == 256
    assert spec.mean == (0.485, 0.456, 0.406)
    assert classifier.classes is not None
    assert classifier.classes.wnids is not None
    assert (classifier.classes.names[0], classifier.classes.wnids[0]) == ("tench, Tinca tinca", "n01440764")
    assert classifier.classes.wnids[999] == "n15075141"


def test_timm_takes_another_size_and_class_count():
    classifier = load_classifier(
        "timm:vit_tiny_patch16_224", weights="random", input_size=(1, 32, 32), classes=["a", "b"]
    )
    assert classifier.preprocess is not None
    assert (classifier.preprocess.channels, classifier.preprocess.mean) == (1, None)
    assert classifier.logits(torch.rand(1, 1, 32, 32)).shape == (1, 2)


def test_random_weights_are_the_same_at_every_load_and_leave_the_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = load_classifier("timm:test_resnet.r160_in1k", weights="random")
    assert torch.equal(torch.rand(3), expected)
    assert first.identity == load_classifier("timm:test_resnet.r160_in1k", weights="random").identity


def test_weights_of_another_architecture_stop(tmp_path):
    save_file({"stem.weight": torch.zeros(3)}, tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match=r"does not fit ResNet.*is missing"):
        load_classifier("timm:test_resnet", weights=tmp_path / "w.safetensors")


def test_torchvision_preprocessing_follows_the_training():
    classifier = load_classifier("torchvision:squeezenet1_1", weights="random", batch_size=1)
    spec = classifier.preprocess
    assert spec is not None
    assert (spec.resize, spec.height, spec.interpolation, spec.mean) == (256, 224, "bilinear", (0.485, 0.456, 0.406))
    assert classifier.classes is not None
    assert classifier.classes.names[0] == "tench"


def test_torchvision_asks_which_training_where_they_differ(tmp_path):
    with pytest.raises(InputError, match=r"torchvision:resnet50.IMAGENET1K_V1, torchvision:resnet50.IMAGENET1K_V2"):
        load_classifier("torchvision:resnet50", weights=tmp_path / "w.pt")
    with pytest.raises(InputError, match="has no training V9; there are: IMAGENET1K_V1"):
        load_classifier("torchvision:resnet50.V9", weights="random")


# Identity and recipes


def test_identity_is_the_same_in_another_process(model_file):
    here = load_classifier(f"{model_file}:build").identity
    load = f"load_classifier({f'{model_file}:build'!r})"
    code = f"from whywrong.models.loading.zoo import load_classifier; print({load}.identity)"
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert here == there
    assert len(here) == 64


def test_identity_changes_with_weights_source_and_spec(model_file, tmp_path):
    name = f"{model_file}:build"
    plain = load_classifier(name).identity
    save_file({"fc.weight": torch.zeros(3, 12), "fc.bias": torch.zeros(3)}, tmp_path / "w.safetensors")
    others = [
        load_classifier(name, weights=tmp_path / "w.safetensors").identity,
        load_classifier(name, resize=5).identity,
        load_classifier(name, mean=(0, 0, 0), std=(1, 1, 1)).identity,
    ]
    model_file.write_text(SOURCE.replace("self.fc(x.flatten(1))", "-self.fc(x.flatten(1))"))
    others.append(load_classifier(name).identity)
    assert len({plain, *others}) == 5


def test_identity_ignores_device_access_and_batch_size(model_file):
    name = f"{model_file}:build"
    assert load_classifier(name).identity == load_classifier(name, batch_size=3, access="scores", device="cpu").identity


def test_a_recipe_rebuilds_the_classifier_after_pickling(model_file, monkeypatch, tmp_path):
    monkeypatch.chdir(model_file.parent)
    first = load_classifier(f"{model_file.name}:build", mean=(0.1,) * 3, std=(0.2,) * 3, batch_size=7)
    recipe = pickle.loads(pickle.dumps(first.recipe))
    monkeypatch.chdir("/")  # a worker may start elsewhere
    again = recipe.build()
    assert torch.equal(again.logits(X), first.logits(X))
    assert (again.identity, again.preprocess, again.batch_size) == (first.identity, first.preprocess, 7)
    with pytest.raises(dataclasses.FrozenInstanceError):
        recipe.model = "timm:resnet18"


def test_a_recipe_refuses_a_model_that_has_changed(model_file):
    recipe = load_classifier(f"{model_file}:build").recipe
    model_file.write_text(SOURCE + "\n# another day\n")
    with pytest.raises(ModelError, match="has changed since the run began"):
        recipe.build()


# Real models


@pytest.mark.parametrize(("name", "wrong"), [("resnet20", 43), ("small_vit", 144)])
def test_real_models_reach_the_accuracy_of_their_readme(shared_data, name, wrong):
    classifier = load_classifier(f"{shared_data}/models.py:{name}")
    arrays = np.load(shared_data / "cifar10_test_a" / "test_lossless.npz")
    x = torch.from_numpy(arrays["images"]).permute(0, 3, 1, 2).float() / 255
    predicted = classifier.predict(x)
    assert int((predicted != torch.from_numpy(arrays["labels"]).long()).sum()) == wrong


@pytest.mark.parametrize("name", ["timm:deit_tiny_patch16_224"])
def test_weights_of_a_named_architecture_equal_the_model_from_a_file(shared_data, name):
    named = load_classifier(name, weights=shared_data / "imagenet_deit_tiny" / "deit_tiny_patch16_224.safetensors")
    from_file = load_classifier(f"{shared_data}/models.py:deit_tiny")
    assert named.preprocess is not None
    assert from_file.preprocess is not None
    x = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(named.logits(x), from_file.logits(x), atol=1e-4, rtol=0)
