"""Exported programs and TorchScript load at the access they give; what could run code is refused unread."""

from __future__ import annotations

import json
import pickle
import warnings
import zipfile
from pathlib import Path

import pytest
import torch
from torch import nn

import whywrong as ww
from whywrong.core.errors import InputError, ModelError


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)).eval()


@pytest.fixture(scope="module")
def exported(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("programs") / "net.pt2"
    free = {0: torch.export.Dim("batch", min=1, max=1024)}
    torch.export.save(torch.export.export(net(), (torch.rand(2, 3, 8, 8),), dynamic_shapes=(free,)), path)
    return path


@pytest.fixture
def script(tmp_path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated, and people have files of it
        torch.jit.save(torch.jit.script(net()), tmp_path / "net.pt")
    return tmp_path / "net.pt"


def changed(path: Path, target: Path, change) -> Path:
    """A copy of an archive with its members changed: ``change(name, content)`` gives new members."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            for member, content in change(name, old.read(name)):
                new.writestr(member, content)
    return target


def test_an_exported_program_grants_gradients_and_says_its_input_size(exported):
    classifier = ww.load_classifier(exported, device="cpu")
    x = torch.rand(5, 3, 8, 8)
    assert torch.allclose(classifier.logits(x), net()(x), atol=1e-5)
    assert (classifier.access, classifier.preprocess.height) == (ww.Access.GRADIENTS, 8)
    assert classifier.gradient(x, lambda z, rows: z[:, 0])[2].abs().sum() > 0
    assert not classifier.left_in_train_mode
    assert classifier.recipe.build().identity == classifier.identity


def test_a_program_for_one_image_is_asked_image_by_image(tmp_path):
    torch.export.save(torch.export.export(net(), (torch.rand(1, 3, 8, 8),)), tmp_path / "one.pt2")
    classifier = ww.load_classifier(tmp_path / "one.pt2", device="cpu")
    x = torch.rand(3, 3, 8, 8)
    assert torch.allclose(classifier.logits(x), net()(x), atol=1e-5)
    assert classifier.largest_batch == 1


def test_a_program_for_several_images_at_once_is_to_be_exported_again(tmp_path):
    torch.export.save(torch.export.export(net(), (torch.rand(4, 3, 8, 8),)), tmp_path / "four.pt2")
    with pytest.raises(ModelError, match="exactly 4 images at a time: export it again with dynamic_shapes"):
        ww.load_classifier(tmp_path / "four.pt2")


def test_torchscript_grants_gradients_and_asks_for_its_input_size(script):
    with pytest.raises(InputError, match=r"net\.pt does not say its input size: give --input-size 224"):
        ww.load_classifier(script)
    classifier = ww.load_classifier(script, input_size=(3, 8, 8), device="cpu")
    x = torch.rand(5, 3, 8, 8)
    assert torch.allclose(classifier.logits(x), net()(x), atol=1e-5)
    assert classifier.access == ww.Access.GRADIENTS


def test_a_file_with_weights_alone_is_no_program(tmp_path):
    torch.save(net().state_dict(), tmp_path / "w.pt")
    with pytest.raises(InputError, match=r"w\.pt holds weights and does not say the architecture"):
        ww.load_classifier(tmp_path / "w.pt")
    with pytest.raises(InputError, match="no model at"):
        ww.load_classifier(tmp_path / "none.pt2")


def test_weights_do_not_go_with_a_program(script):
    with pytest.raises(InputError, match="carries its own weights"):
        ww.load_classifier(script, weights="w.safetensors")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"\x80\x02."])
def test_a_damaged_program_is_refused(tmp_path, content):
    (tmp_path / "bad.pt2").write_bytes(content)
    with pytest.raises(ModelError, match="cannot be read as an exported program"):
        ww.load_classifier(tmp_path / "bad.pt2")


class Harm:
    def __reduce__(self):
        return (print, ("harm was done",))


def _pickled(name, content):
    yield name, pickle.dumps(Harm()) if "sample_inputs" in name else content


def _with_pickle(name, content):
    yield name, content.replace(b'"use_pickle": false', b'"use_pickle": true') if "weights_config" in name else content


def _with_object(name, content):
    yield name, content
    if name.endswith("archive_format"):
        yield "net/data/constants/opaque_obj_0", pickle.dumps(Harm())


def _with_operation(name, content):
    yield (
        name,
        content.replace(b"torch.ops.aten.relu.default", b"torch.hub.os.system") if "model.json" in name else content,
    )


def _twice(name, content):
    yield from [(name, content)] * (2 if "model.json" in name else 1)


def _with_expression(name, content):
    if "model.json" in name:
        content = json.dumps(json.loads(content)).replace("Symbol('s", "print('s").encode()
    yield name, content


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (_pickled, 'a pickle, "net/data/sample_inputs/model.pt"'),
        (_with_pickle, "pickled tensors"),
        (_with_object, 'the part "net/data/constants/opaque_obj_0"'),
        (_with_operation, r'the operation "torch\.hub\.os\.system"'),
        (_twice, "parts of the same name"),
        (_with_expression, 'the expression "print'),
    ],
)
def test_a_program_that_could_run_code_is_refused_and_not_run(exported, tmp_path, capfd, change, text):
    bad = changed(exported, tmp_path / "net.pt2", change)
    with pytest.raises(ModelError, match=f"holds {text}.*nothing in it was executed"):
        ww.load_classifier(bad)
    assert "harm" not in capfd.readouterr().out


def test_an_unchanged_copy_loads(exported, tmp_path):
    same = changed(exported, tmp_path / "net.pt2", lambda name, content: [(name, content)])
    assert ww.load_classifier(same, device="cpu").logits(torch.rand(1, 3, 8, 8)).shape == (1, 3)


def test_a_program_that_takes_no_images_is_refused(tmp_path):
    torch.export.save(torch.export.export(nn.Linear(4, 3), (torch.rand(2, 4),)), tmp_path / "linear.pt2")
    with pytest.raises(ModelError, match=r"must take one batch of images .* it takes \[\(2, 4\)\]"):
        ww.load_classifier(tmp_path / "linear.pt2")
