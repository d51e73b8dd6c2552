"""Loaders are lines of a registry; a toy one needs one file and one entry point."""

from __future__ import annotations

import pytest
import torch

from whywrong.core.errors import InputError
from whywrong.core.registry import Loader, lines, resolve
from whywrong.models.loading.zoo import load_classifier

TOY = """
import torch
from whywrong.core.registry import Loader
from whywrong.models.loading.loaded import Loaded, ModelRequest

LINE = Loader(name="toy", form="toy:K", function="toy_loader:load", schemes=("toy",), suffixes=(".toy",))

def load(request: ModelRequest) -> Loaded:
    count = int(request.name) if request.name.isdecimal() else len(open(request.name).read())
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, count))
    torch.nn.init.eye_(module[1].weight)
    torch.nn.init.zeros_(module[1].bias)
    return Loaded(model=module, says={"input_size": (3, 2, 2)})
"""


@pytest.fixture
def toy(install_plugin):
    install_plugin("toy_loader", TOY, "whywrong.loaders")


def test_a_toy_loader_serves_its_scheme_and_its_files(toy, tmp_path):
    (tmp_path / "three.toy").write_text("abc")
    x = torch.rand(2, 3, 2, 2)
    for name, count in (("toy:4", 4), (str(tmp_path / "three.toy"), 3)):
        torch.testing.assert_close(load_classifier(name).logits(x), x.flatten(1)[:, :count])


def test_what_a_toy_loader_loads_is_built_again_from_its_recipe(toy):
    classifier = load_classifier("toy:4")
    assert classifier.recipe is not None
    assert classifier.recipe.build().identity == classifier.identity  # build() refuses another identity itself


def test_an_unknown_scheme_lists_plug_ins_too(toy):
    with pytest.raises(InputError, match=r'unknown scheme "toyy:"; nearest: "toy"; .*FILE.onnx, .*toy:K'):
        load_classifier("toyy:3")


def test_every_built_in_loader_can_be_imported_and_is_reached_by_one_name():
    found = lines(Loader).values()
    assert {line.name for line in found} >= {"planted", "timm", "torchvision", "python", "onnx"}
    assert all(callable(resolve(line.function)) for line in found)
    reached = [*(scheme for line in found for scheme in line.schemes), *(s for line in found for s in line.suffixes)]
    assert len(reached) == len(set(reached))
