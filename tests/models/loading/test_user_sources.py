"""The identity of a model from the user's file covers the modules and weights beside it."""

from __future__ import annotations

import pickle
import sys

import numpy as np
import pytest

from whywrong.core.errors import ModelError
from whywrong.models.loading.user_sources import source_digests
from whywrong.models.loading.zoo import load_classifier
from whywrong.models.weights import pickled
from whywrong.models.weights.files import read_state

NETS = {
    "import": "import helper\ndef build(): return helper.net()",
    "from": "from helper import net\ndef build(): return net()",
    "in a function": "def build():\n    from helper import net\n    return net()",
    "package": "from pack.inner import net\ndef build(): return net()",
    "package module": "from pack import inner\ndef build(): return inner.net()",
    "second hand": "import first\ndef build(): return first.helper.net()",
}
HELPER = """
import numpy as np
class Model:
    input_size, classes = (3, 4, 4), ["a", "b"]
    def __call__(self, x):
        return x.flatten(1)[:, :2].numpy() * {scale}
def net(): return Model()
"""


def write(folder, net, scale):
    (folder / "pack").mkdir(exist_ok=True)
    (folder / "pack" / "__init__.py").write_text("")
    (folder / "pack" / "inner.py").write_text(HELPER.format(scale=scale))
    (folder / "helper.py").write_text(HELPER.format(scale=scale))
    (folder / "first.py").write_text("import helper")
    (folder / "nets.py").write_text(NETS[net])
    (folder / "unrelated.py").write_text(f"x = {scale}")


@pytest.fixture(autouse=True)
def forget_helpers():
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.split(".")[0] in ("helper", "pack", "first"):
            del sys.modules[name]


@pytest.mark.parametrize("net", NETS)
def test_a_module_beside_the_file_belongs_to_it(tmp_path, net):
    seen = []
    for scale in (1, 2, 1):
        write(tmp_path, net, scale)
        seen.append(source_digests(tmp_path / "nets.py"))
    assert seen[0] == seen[2] != seen[1]
    assert load_classifier(f"{tmp_path}/nets.py:build").identity


def test_a_module_that_nobody_imports_does_not(tmp_path):
    (tmp_path / "nets.py").write_text("import os, json\n")
    (tmp_path / "json.txt").write_text("")
    (tmp_path / "other.py").write_text("1")
    assert source_digests(tmp_path / "nets.py") == ()


@pytest.mark.parametrize("name", ["w.npz", "w.safetensors", "deep/w.npy", "w.pt", "config.json", "model.onnx"])
@pytest.mark.parametrize("absolute", [False, True])
def test_a_file_of_weights_that_the_source_names_belongs_to_it(tmp_path, name, absolute):
    (tmp_path / "deep").mkdir()
    written = tmp_path / name if absolute else name
    (tmp_path / "nets.py").write_text(f"import numpy as np\ndef net(): return np.load({str(written)!r})")
    seen = []
    for value in (1, 2, 1):
        np.array([value]).tofile(tmp_path / name)
        seen.append(source_digests(tmp_path / "nets.py"))
    assert seen[0] == seen[2] != seen[1]


def test_a_worker_finds_the_same_identity_and_a_changed_helper_stops_it(tmp_path):
    write(tmp_path, "from", 1)
    recipe = pickle.loads(pickle.dumps(load_classifier(f"{tmp_path}/nets.py:build").recipe))
    assert recipe.build().identity == recipe.identity
    write(tmp_path, "from", 2)
    with pytest.raises(ModelError, match="has changed since the run began"):
        recipe.build()


@pytest.mark.parametrize("version", ["2.5.1", "2.6.0+cpu", "2.9.1", "1.13.1", "2.9.0a0+git123", "unknown"])
def test_pickles_are_refused_by_a_torch_in_which_they_may_run_code(tmp_path, monkeypatch, version):
    import torch

    torch.save({"w": torch.ones(1)}, tmp_path / "w.pt")
    monkeypatch.setattr(pickled.torch, "__version__", version)
    with pytest.raises(ModelError, match=r"w.pt is not opened by torch .* safetensors"):
        read_state(tmp_path / "w.pt")


@pytest.mark.parametrize("version", ["2.10.0", "2.15.0+cu132", "3.0.0", "2.11.0a0"])
def test_pickles_are_read_by_a_torch_that_knows_better(tmp_path, monkeypatch, version):
    import torch

    torch.save({"w": torch.ones(1)}, tmp_path / "w.pt")
    monkeypatch.setattr(pickled.torch, "__version__", version)
    assert read_state(tmp_path / "w.pt")


def test_the_lower_bounds_are_those_with_the_fixes():
    import tomllib
    from pathlib import Path

    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {"torch>=2.10", "pillow>=12.3", "torchvision>=0.25", "jinja2>=3.1.6"} <= set(project["dependencies"])
