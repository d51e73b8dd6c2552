"""Objects beside weights are inert, and a call that could do harm stops the file even where its weights are good."""

from __future__ import annotations

import builtins
import functools
import importlib
import operator
import os
import pickle
import runpy
import shutil
import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn

from whywrong.core.errors import ModelError
from whywrong.models.weights.files import load_weights
from whywrong.models.weights.pickled import Inert, read_pickled


class Call:
    """Calls a function when it is unpickled."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


def harmless_looking(*args: Any) -> None:
    """A function of the user's own project, which writes when it is called."""
    open(args[0], "w").close()


PAYLOADS = {
    "system": lambda c: Call(os.system, f"touch {c}"),
    "popen": lambda c: Call(subprocess.Popen, ["touch", str(c)]),
    "exec": lambda c: Call(exec, f"open({str(c)!r}, 'w')"),
    "eval": lambda c: Call(eval, f"open({str(c)!r}, 'w')"),
    "open": lambda c: Call(open, str(c), "w"),
    "getattr": lambda c: Call(getattr, Call(importlib.import_module, "os"), "system"),
    "import": lambda c: Call(builtins.__import__, "os"),
    "runpy": lambda c: Call(runpy.run_path, str(c)),
    "rmtree": lambda c: Call(shutil.rmtree, str(c)),
    "operator": lambda c: Call(operator.methodcaller, "touch"),
    "reduce": lambda c: Call(functools.reduce, max, [1]),
    "pickle in pickle": lambda c: Call(pickle.loads, pickle.dumps(Call(os.system, f"touch {c}"))),
    "breakpoint": lambda c: Call(breakpoint),
    "exit": lambda c: Call(sys.exit, 3),
    "setattr": lambda c: Call(setattr, Call(dict), "a", 1),
}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("name", PAYLOADS)
def test_a_call_beside_good_weights_stops_and_is_named(tmp_path, name, legacy):
    canary, module, path = tmp_path / "canary", nn.Linear(2, 2), tmp_path / "w.pt"
    content = {"state_dict": module.state_dict(), "args": PAYLOADS[name](canary)}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(ModelError, match=r"w.pt holds more than weights: it asks to call \S+, .*nothing .* executed"):
        load_weights(module, path)
    assert not canary.exists()


@pytest.mark.parametrize("legacy", [False, True])
def test_a_function_of_the_users_own_is_never_called(tmp_path, legacy):
    canary, path = tmp_path / "canary", tmp_path / "w.pt"
    content = {"w": torch.ones(2), "x": Call(harmless_looking, str(canary)), "y": harmless_looking}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    torch.load(path, weights_only=False)
    assert canary.exists()  # the payload works; without this the test would prove nothing
    canary.unlink()
    read, ignored = read_pickled(path)
    assert not canary.exists()
    assert isinstance(read["x"], Inert)
    assert ignored == (f"{__name__}.harmless_looking",)


def test_a_class_that_is_not_installed_is_not_needed_and_not_imported(tmp_path, monkeypatch):
    source = tmp_path / "gone_tomorrow.py"
    source.write_text("import pathlib\npathlib.Path(__file__).with_name('canary').touch()\nclass Config: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    module = importlib.import_module("gone_tomorrow")
    torch.save({"w": torch.ones(2), "config": module.Config()}, tmp_path / "w.pt")
    (tmp_path / "canary").unlink()
    del sys.modules["gone_tomorrow"]
    read_pickled(tmp_path / "w.pt")
    assert "gone_tomorrow" not in sys.modules
    assert not (tmp_path / "canary").exists()


def test_the_allowed_names_of_the_process_are_as_before(tmp_path):
    before = set(torch.serialization.get_safe_globals())
    torch.save({"w": torch.ones(2), "x": Call(harmless_looking, "a")}, tmp_path / "w.pt")
    read_pickled(tmp_path / "w.pt")
    assert set(torch.serialization.get_safe_globals()) == before


@pytest.mark.parametrize("content", [nn.Linear(2, 2), Call(harmless_looking, "a")])
def test_one_whole_object_is_refused_with_the_remedy(tmp_path, content):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(ModelError, match=r"more than weights: one whole object .*save_file\(model.state_dict"):
        read_pickled(tmp_path / "w.pt")


@pytest.mark.parametrize("content", [[1, 2], {"a": 1}, {}, "text", {"args": Call(harmless_looking, "a")}])
def test_a_file_without_named_tensors_is_no_weights(tmp_path, content):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(ModelError, match="not a table of named tensors"):
        load_weights(nn.Linear(2, 2), tmp_path / "w.pt")
