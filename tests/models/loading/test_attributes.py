"""What a model carries as its own parts is no statement about its input, and nothing is normalised twice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn

from whywrong.core.errors import InputError
from whywrong.core.input_spec import InputSpec
from whywrong.models.checks.health import probe
from whywrong.models.loading.attributes import settle_normalisation, stated_preprocessing
from whywrong.models.loading.zoo import load_classifier

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SPEC = InputSpec(height=8, width=8, mean=MEAN, std=STD)


def column(values: Any) -> Tensor:
    return torch.tensor(values).view(1, 3, 1, 1)


class Body(nn.Module):
    """Takes images that are already as it wants them."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.fc = nn.Conv2d(3, 6, 3), nn.Linear(6, 4)
        self.input_size = (3, 8, 8)

    def body(self, x: Tensor) -> Tensor:
        return self.fc(self.conv(x).relu().mean((2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class Itself(Body):
    """Normalises in its forward pass, with values that it keeps in one of many ways."""

    def __init__(self, keep: Callable[[Itself], None]) -> None:
        super().__init__()
        keep(self)

    def forward(self, x: Tensor) -> Tensor:
        return self.body((x - column(MEAN)) / column(STD))


def declared() -> nn.Module:
    net = Body()
    net.mean, net.std = MEAN, list(STD)
    return net


# Parts of the network


def buffers(net: Any) -> None:
    net.register_buffer("mean", column(MEAN))
    net.register_buffer("std", column(STD))


def parameters(net: Any) -> None:
    net.mean, net.std = nn.Parameter(column(MEAN)), nn.Parameter(column(STD), requires_grad=False)


def submodules(net: Any) -> None:
    net.mean, net.std = nn.AdaptiveAvgPool2d(1), nn.Identity()
    net.resize, net.interpolation = nn.Upsample(4), nn.Conv2d(3, 3, 1)
    net.classes = nn.Linear(2, 2)


def methods(net: Any) -> None:
    object.__setattr__(net, "mean", lambda x: x.mean())
    object.__setattr__(net, "std", net.forward)
    object.__setattr__(net, "resize", torch.nn.functional.interpolate)


def plain_tensors(net: Any) -> None:
    object.__setattr__(net, "mean", column(MEAN))
    object.__setattr__(net, "std", column(STD))


def arrays(net: Any) -> None:
    net.mean, net.std = np.array(MEAN), np.array(STD)


def of_weights(net: Any) -> None:
    net.mean, net.std = 0.0, 0.02  # how its weights were drawn


def of_another_length(net: Any) -> None:
    net.mean, net.std = (0.0,) * 4, (1.0,) * 4


def half_of_it(net: Any) -> None:
    net.std = (0.1, 0.1, 0.1)


def broken(net: Any) -> None:
    net.mean, net.std = (float("nan"),) * 3, (0.0, 1.0, 1.0)


def other_things(net: Any) -> None:
    net.resize, net.interpolation = "always", 3
    net.mean, net.std = "auto", True


def too_small(net: Any) -> None:
    net.resize = 4  # below the input: no shorter side can be meant


PARTS = [
    buffers, parameters, submodules, methods, plain_tensors, arrays, of_weights, of_another_length, half_of_it, broken,
    other_things, too_small,
]  # fmt: skip


@pytest.mark.parametrize("keep", PARTS)
def test_parts_of_the_network_are_not_taken_for_preprocessing_and_it_is_said(keep):
    said, notes = stated_preprocessing(Itself(keep), {})
    assert said == {"input_size": (3, 8, 8)}
    assert "not taken as preprocessing" in notes[0]


@pytest.mark.parametrize("size", [512, (8, 8), (8, 8, 3), (3, 8, -1), "3,8,8", (3.0, 8, 8), nn.Linear(2, 2)])
def test_an_input_size_of_another_kind_is_not_taken(size):
    net = Body()
    net.input_size = size
    assert stated_preprocessing(net, {})[0] == {}


def test_plain_values_are_taken_and_said():
    net = declared()
    net.resize, net.interpolation = np.int64(9), "BICUBIC"
    said, notes = stated_preprocessing(net, {})
    assert said == {"input_size": (3, 8, 8), "resize": 9, "interpolation": "bicubic", "mean": MEAN, "std": STD}
    assert notes == ["resize, interpolation, mean and std taken from attributes of the model"]


def test_one_number_counts_for_one_channel():
    net = Body()
    net.mean, net.std = 0.1307, 0.3081
    assert stated_preprocessing(net, {"input_size": (1, 8, 8)})[0]["mean"] == (0.1307,)
    assert "mean" not in stated_preprocessing(net, {"input_size": (3, 8, 8)})[0]


@pytest.mark.parametrize("wrap", [nn.DataParallel, lambda net: type("W", (nn.Module,), {"_orig_mod": net})()])
def test_attributes_of_a_wrapped_module_count(wrap):
    assert stated_preprocessing(wrap(declared()), {})[0]["mean"] == MEAN


def test_a_property_that_raises_states_nothing():
    class Odd(Body):
        @property
        def mean(self) -> Any:
            raise RuntimeError("not yet")

    assert stated_preprocessing(Odd(), {})[0] == {"input_size": (3, 8, 8)}


# Plain values with which the model normalises by itself


class FromTuples(Body):
    mean, std = MEAN, STD

    def forward(self, x: Tensor) -> Tensor:
        return self.body((x - column(self.mean)) / column(self.std))


class FromInstance(FromTuples):
    def __init__(self) -> None:
        super().__init__()
        self.mean, self.std = list(MEAN), list(STD)


class FromBuffers(Body):
    """Keeps plain values for its owner, and tensors for itself."""

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.std = MEAN, STD
        self.register_buffer("_m", column(MEAN))
        self.register_buffer("_s", column(STD), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.body((x - self._m) / self._s)


class FromParameters(FromBuffers):
    def __init__(self) -> None:
        super().__init__()
        del self._m, self._s
        self._m, self._s = (nn.Parameter(column(v), requires_grad=False) for v in (MEAN, STD))


class FromPlainTensors(FromBuffers):
    def __init__(self) -> None:
        super().__init__()
        del self._m, self._s
        self._m, self._s = column(MEAN), column(STD)


class FromLayer(Body):
    """Has a layer of torchvision that normalises."""

    def __init__(self) -> None:
        super().__init__()
        self.mean, self.std = MEAN, STD
        self.first = torchvision.transforms.Normalize(MEAN, STD)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(self.first(x))


class Callback:
    """No module; numpy inside."""

    def __init__(self) -> None:
        self.mean, self.std, self.net = MEAN, STD, Body().eval()

    @torch.no_grad()
    def __call__(self, x: Tensor) -> np.ndarray:
        x = (x.numpy() - np.reshape(self.mean, (1, 3, 1, 1))) / np.reshape(self.std, (1, 3, 1, 1))
        return self.net(torch.from_numpy(x).float()).numpy()


ITSELF = [FromTuples, FromInstance, FromBuffers, FromParameters, FromPlainTensors, FromLayer, Callback]


@pytest.mark.parametrize("make", ITSELF)
def test_a_model_that_normalises_with_its_own_values_is_not_normalised_again(make):
    model = make()
    before = {key: value.clone() for key, value in model.state_dict().items()} if isinstance(model, nn.Module) else {}
    attributes = dict(vars(model))
    spec, notes = settle_normalisation(model, SPEC)
    assert (spec.mean, spec.std) == (None, None)
    assert "itself; mean and std are not applied again" in notes[0]
    assert vars(model) == attributes
    assert all(torch.equal(value, before[key]) for key, value in getattr(model, "state_dict", dict)().items())


@pytest.mark.parametrize("train", [True, False])
def test_a_statement_that_the_forward_pass_does_not_use_is_applied(train):
    net = declared().train(train)
    assert settle_normalisation(net, SPEC) == (SPEC, [])
    assert net.training == train
    assert all(parameter.requires_grad for parameter in net.parameters())


class Rescales(FromTuples):
    """Expects normalised images and turns them into another range, as Inception does."""

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x * column(self.std) / 0.5 + (column(self.mean) - 0.5) / 0.5)


class Half(FromTuples):
    """Subtracts its mean and leaves the spread alone."""

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x - column(self.mean))


@pytest.mark.parametrize("make", [Rescales, Half])
def test_values_that_are_used_in_another_way_are_asked_about(make):
    with pytest.raises(InputError, match="unclear whether mean and std are still to be applied: pass --mean none"):
        settle_normalisation(make(), SPEC)


def test_a_model_that_refuses_the_trial_images_keeps_its_statement():
    class Refuses(FromTuples):
        def forward(self, x: Tensor) -> Tensor:
            raise ValueError("no")

    assert settle_normalisation(Refuses(), SPEC) == (SPEC, [])


# Through the door

SOURCE = """
import torch
from torch import nn
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

class Net(nn.Module):
    input_size = (3, 8, 8)
    classes = ["red", "green", "blue"]
    def forward(self, x):
        return 4 * self.normalise(x).mean((2, 3))
    def normalise(self, x):
        return x

class Tuples(Net):
    mean, std = MEAN, STD
    def normalise(self, x):
        return (x - torch.tensor(self.mean).view(1, 3, 1, 1)) / torch.tensor(self.std).view(1, 3, 1, 1)

class Rescales(Net):
    mean, std = MEAN, STD
    def normalise(self, x):
        return x * torch.tensor(self.std).view(1, 3, 1, 1)

def plain():
    net = Net(); net.mean, net.std = MEAN, STD; return net
def tuples(): return Tuples()
def rescales(): return Rescales()
def buffers():
    net = Tuples()
    del Tuples.mean, Tuples.std
    net.register_buffer("mean", torch.tensor(MEAN)); net.register_buffer("std", torch.tensor(STD)); return net
def parts():
    net = Net(); net.mean, net.resize, net.interpolation = nn.Linear(2, 2), nn.Identity(), nn.ReLU(); return net
"""


@pytest.fixture
def nets(tmp_path) -> Path:
    (tmp_path / "nets.py").write_text(SOURCE)
    return tmp_path / "nets.py"


@pytest.mark.parametrize(
    ("function", "mean", "note"),
    [
        ("plain", MEAN, "nets.py:plain: mean and std taken from attributes of the model"),
        ("tuples", None, "normalises its input with mean and std itself"),
        ("buffers", None, r"mean \(Tensor\) and std \(Tensor\) of the model not taken"),
        ("parts", None, r"resize \(Identity\), interpolation \(ReLU\) and mean \(Linear\) of the model not taken"),
    ],
)
def test_a_file_is_loaded_with_the_normalisation_that_is_right(nets, function, mean, note):
    import re

    classifier = load_classifier(f"{nets}:{function}")
    assert classifier.preprocess is not None
    assert classifier.preprocess.mean == mean
    assert any(re.search(note, text) for text in classifier.notes), classifier.notes
    said = [f.text for f in probe(classifier, torch.rand(8, 3, 8, 8)).findings if f.level == "note"]
    assert said == list(classifier.notes)


def test_options_settle_what_is_unclear(nets):
    with pytest.raises(InputError, match="unclear"):
        load_classifier(f"{nets}:rescales")
    assert load_classifier(f"{nets}:rescales", mean=()).preprocess.mean is None
    given = load_classifier(f"{nets}:rescales", mean=MEAN, std=STD)
    assert (given.preprocess.mean, given.notes) == (MEAN, ())


@pytest.mark.parametrize("images", [64, 509])
def test_a_double_normalisation_that_cannot_be_seen_is_found_by_its_accuracy(shared_data, tmp_path, images):
    source = (
        f"import sys; sys.path.insert(0, {str(shared_data)!r})\nfrom models import build\n"
        "class Hidden:\n    def __init__(self): self.net = build('resnet20'); self.input_size = (3, 32, 32)\n"
        "    def __call__(self, x): return self.net(x)\n"
        "def twice():\n    net = Hidden()\n"
        "    net.mean, net.std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)\n    return net\n"
    )
    (tmp_path / "hidden.py").write_text(source)
    classifier = load_classifier(f"{tmp_path}/hidden.py:twice", classes=[str(i) + "c" for i in range(10)])
    arrays = np.load(shared_data / "cifar10_test_a" / "test_lossless.npz")
    x = torch.from_numpy(arrays["images"][:images]).permute(0, 3, 1, 2).float() / 255
    report = probe(classifier, x, torch.from_numpy(arrays["labels"][:images]).long())
    assert "normalised twice" in [finding.name for finding in report.findings]
