"""Models of every kind and data of every kind meet at every Python door; what nobody states is asked for."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import timm
import torch
import torchvision
from PIL import Image
from tests.data.objects.sets import SIDE, Samples, labels, pixels, tensors, write_folder
from torch import nn
from torch.utils.data import DataLoader, Subset, TensorDataset
from torchvision import transforms
from torchvision.datasets import FakeData, ImageFolder

import whywrong as ww
from whywrong.core.errors import InputError, ModelError
from whywrong.core.input_spec import InputSpec
from whywrong.doors.methods import MOST, open_inputs
from whywrong.doors.pairs import input_spec, open_model, open_pair

X, Y = tensors(), labels()
MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
NORMALISE = transforms.Normalize(MEAN, STD)
PREPARE = transforms.Compose([transforms.Resize(10), transforms.CenterCrop(SIDE), transforms.ToTensor(), NORMALISE])


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3)).eval()


def test_the_logits_are_those_that_the_loader_would_give_the_module(net, tmp_path):
    data = ImageFolder(write_folder(tmp_path / "d"), PREPARE)
    with torch.no_grad():
        wanted = net(torch.stack([x for x, _ in data]))
    for given in (data, DataLoader(data, shuffle=True), Subset(data, range(6)), [data[n] for n in range(6)]):
        reading = {} if given is not None and not isinstance(given, list) else {"mean": MEAN, "std": STD}
        classifier, source = open_pair(net, given, **reading)
        (batch,) = ww.load_images(source, spec=input_spec(classifier, source))
        assert torch.allclose(classifier.logits(batch.x), wanted, atol=1e-5)


def test_a_plain_image_folder_keeps_its_photographs_and_can_be_opened_by_workers(net, tmp_path):
    folder = write_folder(tmp_path / "d")
    _, source = open_pair(net, DataLoader(ImageFolder(folder, PREPARE), shuffle=True))
    assert source.spec.kind == "classes"
    assert source.spec.open().read(next(source.entries()))[:4] == b"\x89PNG"
    assert "shuffles" in source.warnings[0]


def test_an_image_folder_with_steps_of_its_own_is_read_through_its_samples(net, tmp_path):
    flipped = transforms.Compose([transforms.functional.vflip, *PREPARE.transforms])
    classifier, source = open_pair(net, ImageFolder(write_folder(tmp_path / "d"), flipped))
    assert source.spec.kind == "object"
    assert classifier.preprocess == InputSpec(height=SIDE, width=SIDE, mean=MEAN, std=STD)


def test_an_image_folder_with_changed_samples_is_read_through_them(net, tmp_path):
    data = ImageFolder(write_folder(tmp_path / "d"), PREPARE)
    data.samples = data.samples[:4]
    _, source = open_pair(net, data)
    assert (source.spec.kind, len(source)) == ("object", 4)


def test_the_data_set_s_classes_name_the_outputs_of_a_module_without_names(net, tmp_path):
    report = ww.check(net, ImageFolder(write_folder(tmp_path / "d"), PREPARE))
    assert {error.true for error in report.errors} <= {"a", "b", "c"}
    assert any("taken for the model's: a, b, c" in warning for warning in report.warnings)


def test_a_module_with_other_names_is_matched_by_name(net, tmp_path):
    net.classes = ["c", "b", "a"]
    data = ImageFolder(write_folder(tmp_path / "d"), PREPARE)
    wrong = sum(int(net(x[None]).argmax()) != 2 - y for x, y in data)
    assert ww.check(net, data).wrong == wrong


def test_a_module_with_more_outputs_than_names_is_asked_about(tmp_path):
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE**2, 5))
    with pytest.raises(InputError, match="does not name its 5 classes"):
        ww.check(net, ImageFolder(write_folder(tmp_path / "d"), PREPARE))


def test_images_of_several_sizes_ask_for_the_input_size(net):
    ragged = [(Image.new("RGB", (8, 8)), 0), (Image.new("RGB", (9, 8)), 1)]
    with pytest.raises(InputError, match=r"input size .* is not known; .*input_size=\(3, 224, 224\)"):
        ww.check(net, ragged)
    assert ww.check(ww.load_classifier(net, input_size=(3, 8, 8)), ragged).images == 2


def test_raw_images_without_any_normalisation_are_given_as_they_are_and_it_is_said(net):
    report = ww.check(net, (pixels(), Y))
    assert any("nothing states a normalisation" in finding.text for finding in report.findings)


def test_what_a_timm_model_states_is_used(tmp_path):
    net = timm.create_model("test_resnet.r160_in1k", pretrained=False)
    spec = open_model(net).preprocess
    assert (spec.height, spec.mean) == (160, net.pretrained_cfg["mean"])
    assert open_model(net).classes.wnids[0] == "n01440764"
    classifier, source = open_pair(net, (pixels(2, side=200), np.array([0, 1])))
    assert input_spec(classifier, source).resize == spec.resize
    prepared = (torch.rand(2, 3, 160, 160), Y[:2])
    assert input_spec(*open_pair(net, prepared)).resize is None  # not cropped a second time


def test_normalised_tensors_are_undone_if_the_model_s_normalisation_provably_fits():
    net = timm.create_model("test_resnet.r160_in1k", pretrained=False, num_classes=3)
    normalised = transforms.Normalize(net.pretrained_cfg["mean"], net.pretrained_cfg["std"])(X)
    _, source = open_pair(net, (normalised, Y))
    assert np.array_equal(source.read(next(source.entries())), pixels()[0])
    assert "normalised as the model states" in source.warnings[0]
    mean, std = (torch.tensor(net.pretrained_cfg[name])[:, None, None] for name in ("mean", "std"))
    for other in (
        NORMALISE(X),
        (0.9 * X + 0.05 - mean) / std,
    ):  # the second lies in [0, 1] as well, between grey levels
        with pytest.raises(InputError, match="seem to be normalised"):
            open_pair(net, (other, Y))


def test_a_classifier_counts_more_than_the_transform_and_it_is_said(net, tmp_path):
    own = ww.Classifier(net, preprocess=InputSpec(height=SIDE, width=SIDE))
    data = ImageFolder(write_folder(tmp_path / "d"), PREPARE)
    classifier, source = open_pair(own, data)
    assert classifier is own
    assert "the transform of the data set, which differs, is not used" in source.warnings[0]
    same = ww.Classifier(net, preprocess=InputSpec(height=SIDE, width=SIDE, resize=10, mean=MEAN, std=STD))
    assert open_pair(same, data)[1].warnings == ()
    assert input_spec(same, open_pair(same, data)[1]).resize == 10
    assert input_spec(same, open_pair(same, (X, Y))[1]).resize is None  # these are cropped already


def test_images_that_are_not_normalised_get_the_normalisation_of_the_model_and_it_is_said(tmp_path):
    net = timm.create_model("test_resnet.r160_in1k", pretrained=False, num_classes=3)
    classifier, _ = open_pair(net, (X, Y))
    assert classifier.preprocess.mean == net.pretrained_cfg["mean"]
    assert any("the normalisation that the model states is applied" in note for note in classifier.notes)
    plain = transforms.Compose([transforms.Resize((SIDE, SIDE)), transforms.ToTensor()])
    classifier, _ = open_pair(net, ImageFolder(write_folder(tmp_path / "d"), plain))
    assert classifier.preprocess == InputSpec(
        height=SIDE, width=SIDE, mean=net.pretrained_cfg["mean"], std=net.pretrained_cfg["std"]
    )
    assert any("the normalisation that the model states is applied" in note for note in classifier.notes)


def test_grey_tensors_serve_a_model_of_three_channels():
    net = timm.create_model("test_resnet.r160_in1k", pretrained=False, num_classes=3)
    assert ww.check(net, (X[:, :1], Y)).images == len(X)
    assert ww.check(nn.Sequential(nn.Flatten(), nn.Linear(SIDE**2, 3)), (X[:, :1], Y)).images == len(X)


def test_a_data_set_of_torchvision_is_read_with_its_transform(net):
    data = FakeData(6, (3, SIDE, SIDE), 3, transforms.ToTensor())
    classifier, source = open_pair(net, data)
    assert source.facts.title == "torchvision FakeData, 6 items"
    assert np.array_equal(source.read(next(source.entries())), np.asarray(FakeData(6, (3, SIDE, SIDE), 3)[0][0]))
    assert classifier.preprocess == InputSpec(height=SIDE, width=SIDE)


def test_the_transform_counts_more_than_what_the_model_states_and_it_is_said(tmp_path):
    net = timm.create_model("test_resnet.r160_in1k", pretrained=False, num_classes=3)
    classifier, _ = open_pair(net, ImageFolder(write_folder(tmp_path / "d"), PREPARE))
    assert classifier.preprocess == InputSpec(height=SIDE, width=SIDE, resize=10, mean=MEAN, std=STD)
    assert "as the data set does, not as the model states" in classifier.notes[0]


def test_a_torchvision_model_is_asked_for_its_preprocessing_unless_the_data_say_it(tmp_path):
    net = torchvision.models.squeezenet1_1(num_classes=3)
    folder = write_folder(tmp_path / "d")
    with pytest.raises(InputError, match=r"does not carry its preprocessing: .*preprocess=torchvision"):
        open_pair(net, ImageFolder(folder))
    classifier, _ = open_pair(net, ImageFolder(folder, PREPARE))
    assert classifier.preprocess.mean == MEAN
    weights = torchvision.models.SqueezeNet1_1_Weights.DEFAULT
    classifier = ww.load_classifier(torchvision.models.squeezenet1_1(), preprocess=weights)
    assert (classifier.preprocess.resize, classifier.classes.names[0]) == (256, "tench")
    assert ww.load_classifier(net, preprocess=PREPARE).preprocess.height == SIDE
    with pytest.raises(InputError, match="preprocess must be an image processor"):
        ww.load_classifier(net, preprocess=lambda x: x)


@pytest.mark.parametrize("change", ["half", "train", "parallel", "compile", "double", "frozen"])
def test_a_module_in_any_state_is_used_and_left_as_it_is(net, change):
    expected = ww.check(copy.deepcopy(net), (X, Y)).wrong
    given = {
        "half": net.half,
        "double": net.double,
        "train": net.train,
        "parallel": lambda: nn.DataParallel(net),
        "compile": lambda: torch.compile(net),
        "frozen": lambda: net.requires_grad_(False),
    }[change]()
    before = [(p.dtype, p.device, p.requires_grad) for p in given.parameters()], given.training
    assert ww.check(given, (X, Y)).wrong == expected
    assert before == ([(p.dtype, p.device, p.requires_grad) for p in given.parameters()], given.training)


def test_a_module_without_weights_or_on_several_devices_is_refused(net):
    with pytest.raises(ModelError, match="meta device"):
        ww.check(copy.deepcopy(net).to("meta"), (X, Y))
    net[0].to("meta")
    with pytest.raises(ModelError, match=r"meta|several devices"):
        ww.check(net, (X, Y))


class Wrapped(nn.Module):
    def __init__(self, net, form):
        super().__init__()
        self.net, self.form = net, form

    def forward(self, x):
        return self.form(self.net(x))


@pytest.mark.parametrize("form", [lambda z: {"logits": z}, lambda z: {"logits": z, "loss": None}], ids=["dict", "more"])
def test_logits_in_a_mapping_are_found(net, form):
    assert ww.check(Wrapped(net, form), (X, Y)).wrong == ww.check(net, (X, Y)).wrong


def test_logits_in_a_tuple_are_asked_for(net):
    wrapped = Wrapped(net, lambda z: (z, z))
    with pytest.raises(ModelError, match="say which part holds the logits with output=item:N"):
        ww.check(wrapped, (X, Y))
    assert ww.check(ww.load_classifier(wrapped, output="item:0"), (X, Y)).images == 6


@pytest.mark.parametrize(
    "inputs",
    [
        (X, Y),
        (X.numpy(), Y.numpy()),
        (X, Y.tolist()),
        (pixels(), Y),
        ([Image.fromarray(image) for image in pixels()], Y.tolist()),
        (TensorDataset(X, Y),),
        (DataLoader(TensorDataset(X, Y), batch_size=4, shuffle=True),),
        ((X, Y),),
    ],
    ids=["tensors", "arrays", "list", "uint8", "Pillow", "data set", "loader", "pair"],
)
def test_a_method_gets_a_classifier_and_tensors_whatever_it_is_called_with(net, inputs):
    @open_inputs
    def method(classifier, x, y, *, detail=None):
        return classifier, x, y, detail

    classifier, x, y, detail = method(net, *inputs, detail="passed on")
    assert classifier.module is net
    assert torch.allclose(x, X, atol=1e-6)
    assert torch.equal(y, Y)
    assert detail == "passed on"


@pytest.mark.parametrize(
    "method", [ww.cam, ww.covering, ww.invert, ww.patch_groups, ww.interactions, ww.counterfactual]
)
def test_every_method_is_such_a_method(method):
    assert method.__wrapped__.__name__ == method.__name__
    with pytest.raises(InputError, match=r"expected a whywrong\.Classifier"):
        method("timm:resnet18", X, Y)


def test_a_classifier_with_x_and_y_is_left_to_the_method(net):
    @open_inputs
    def method(classifier, x, y):
        return x, y

    x, y = X.numpy(), Y.tolist()
    passed = method(ww.Classifier(net), x, y)
    assert passed[0] is x
    assert passed[1] is y
    with pytest.raises(InputError, match="6 images came with 2 labels"):
        method(net, pixels(), y[:2])


def test_a_method_computes_on_a_data_set(net):
    wanted = ww.cam(ww.Classifier(net, preprocess=InputSpec(height=SIDE, width=SIDE)), X, Y)
    assert ww.cam(net, TensorDataset(X, Y)).to_arrow().equals(wanted.to_arrow())


def test_a_method_refuses_a_data_set_that_is_too_large_or_broken(net):
    many = Samples([(X[0], 0)] * (MOST + 1))
    with pytest.raises(InputError, match=r"at most 256 images at once, .* has 257: .*Subset"):
        ww.cam(net, many)
    with pytest.raises(InputError, match=r"0-unreadable cannot be used: .*1 or 3 channels"):
        ww.cam(net, [(torch.zeros(5, 8, 8), 0), (X[0], 1)])


def test_weights_and_preprocess_go_with_the_kind_of_model_that_has_them(net):
    with pytest.raises(InputError, match="weights goes with a model that is named"):
        ww.load_classifier(net, weights="w.safetensors")
    with pytest.raises(InputError, match="preprocess goes with a module"):
        ww.load_classifier("planted:cnn", preprocess=PREPARE)
    classifier = ww.load_classifier(net, classes=["a", "b", "c"], input_size=(3, 8, 8), mean=MEAN, std=STD, resize=9)
    assert classifier.preprocess == InputSpec(height=8, width=8, resize=9, mean=MEAN, std=STD)
    assert classifier.classes.names == ("a", "b", "c")
