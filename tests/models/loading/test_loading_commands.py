"""The command line loads checkpoints as trainers leave them, and refuses what is no classifier."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from whywrong.cli import main

NET = '''
import torch
from torch import nn

class Greys(nn.Module):
    """Reads grey levels: class i is the level 20 i."""
    def __init__(self, right=True):
        super().__init__()
        self.input_size, self.classes, self.lin = (3, 8, 8), ["a", "b", "c"], nn.Linear(1, 3)
        with torch.no_grad():
            for i in range(3):
                c = i * 20 / 255
                self.lin.weight[i], self.lin.bias[i] = 800 * c, -400 * c * c
            if not right:
                self.lin.weight.zero_()
    def forward(self, x):
        return self.lin(x.mean((1, 2, 3))[:, None])

def net():
    return Greys(right=False).eval()
'''


@pytest.fixture
def place(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text(NET)
    for number, name in enumerate("abc"):
        (tmp_path / "d" / name).mkdir(parents=True)
        for image in range(4):
            Image.new("RGB", (16, 16), (20 * number,) * 3).save(tmp_path / "d" / name / f"{image}.png")
    return tmp_path


def run(monkeypatch, capsys, *arguments: str) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["whywrong", *arguments])
    with pytest.raises(SystemExit) as stopped:
        raise SystemExit(main())
    out = capsys.readouterr()
    return int(stopped.value.code or 0), out.out + out.err


def good() -> dict[str, Tensor]:
    levels = torch.arange(3) * 20 / 255
    return {"lin.weight": 800 * levels[:, None], "lin.bias": -400 * levels**2}


def under(prefix: str) -> dict[str, Tensor]:
    return {prefix + key: value.clone() for key, value in good().items()}


FILES = {
    "compile.safetensors": lambda: under("_orig_mod."),
    "ddp.safetensors": lambda: under("module."),
    "hf_timm_wrapper.safetensors": lambda: under("timm_model."),
    "compile_of_ddp.pt": lambda: under("_orig_mod.module."),
    "lightning.ckpt": lambda: {"state_dict": under("model."), "epoch": 1, "hyper_parameters": {"lr": 0.1}},
    "lightning_compile.ckpt": lambda: {"state_dict": under("model._orig_mod.")},
    "lightning_loss.ckpt": lambda: {"state_dict": {**under("net."), "criterion.weight": torch.ones(3)}},
    "averaged_model.pt": lambda: {"n_averaged": torch.tensor(5), **under("module.")},
    "timm_ema.pth.tar": lambda: {"state_dict": good(), "state_dict_ema": good()},
    "reference_script.pth": lambda: {"model": good(), "args": argparse.Namespace(lr=0.1)},
}


@pytest.mark.parametrize("name", FILES)
def test_every_wrapping_of_the_same_weights_classifies_alike(place, monkeypatch, capsys, name):
    content = FILES[name]()
    save_file(content, name) if name.endswith("safetensors") else torch.save(content, name)
    code, text = run(monkeypatch, capsys, "check", "net.py:net", "d", "--weights", name)
    assert code == 0, text
    assert "accuracy 100.0 %" in text
    if "." in next(iter(content)).removesuffix("lin.weight"):
        assert "was stripped from the names" in text


def test_one_of_two_sets_is_taken_by_its_key(place, monkeypatch, capsys):
    torch.save({"state_dict": {k: 0 * v for k, v in good().items()}, "state_dict_ema": good()}, "w.pt")
    code, text = run(monkeypatch, capsys, "check", "net.py:net", "d", "--weights", "w.pt")
    assert code == 2
    assert "say which with --weights-key" in text
    code, text = run(
        monkeypatch, capsys, "check", "net.py:net", "d", "--weights", "w.pt", "--weights-key", "state_dict_ema"
    )
    assert code == 0, text
    assert "accuracy 100.0 %" in text


def test_a_key_without_a_file_is_refused(place, monkeypatch, capsys):
    code, text = run(monkeypatch, capsys, "check", "net.py:net", "d", "--weights-key", "ema")
    assert code == 2
    assert "pass that file as weights" in text


def test_a_backbone_of_timm_is_refused(place, monkeypatch, capsys):
    code, text = run(monkeypatch, capsys, "check", "timm:eva02_tiny_patch14_224.mim_in22k", "d", "--weights", "random")
    assert code == 2
    assert "is a backbone without a classifier" in text
