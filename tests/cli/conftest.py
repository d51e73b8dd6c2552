"""A tiny model and tiny images, and a way to call the command line in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from PIL import Image

MODEL = '''
import torch
from torch import nn


def net():
    """Red, green or blue: the strongest channel on average."""
    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3))
    with torch.no_grad():
        for layer in (model[0], model[4]):
            layer.weight.copy_(10 * torch.eye(3).view_as(layer.weight))
            layer.bias.zero_()
    model.input_size = (3, 16, 16)
    model.classes = ["red", "green", "blue"]
    return model


def probabilities():
    model = net()
    model.append(nn.Softmax(1))
    model.classes, model.input_size = ["red", "green", "blue"], (3, 16, 16)
    return model
'''


class Small(NamedTuple):
    """Model, folder of 31 files, and what is in it."""

    model: str
    images: Path
    count: int = 30
    wrong: int = 6
    failed: int = 1


@pytest.fixture(scope="session")
def small(tmp_path_factory) -> Small:
    """Thirty noisy images of three colours, six of them labelled as another colour, and one broken file."""
    folder = tmp_path_factory.mktemp("small")
    (folder / "model.py").write_text(MODEL, encoding="utf-8")
    rng = np.random.default_rng(0)
    for number in range(30):
        colour = number % 3
        label = ("red", "green", "blue")[(colour + (number < 6)) % 3]
        pixels = rng.integers(60, 120, (16, 16, 3))
        pixels[:, :, colour] += 40
        place = folder / "images" / label
        place.mkdir(parents=True, exist_ok=True)
        name = f"grün {number:02d}.png" if number == 4 else f"{number:02d}.png"
        Image.fromarray(pixels.astype(np.uint8)).save(place / name)
    (folder / "images" / "red" / "broken.png").write_bytes(b"")
    return Small(f"{folder / 'model.py'}:net", folder / "images")


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


Call = Callable[..., Ended]


@pytest.fixture
def whywrong(monkeypatch, capsys) -> Call:
    """Call the command line: ``whywrong("query", folder, "select 1")``."""

    def call(*arguments: object) -> Ended:
        from whywrong.cli import main

        monkeypatch.setattr(sys, "argv", ["whywrong", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        captured = capsys.readouterr()
        return Ended(int(end.value.code or 0), captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def finished(small, tmp_path_factory) -> Path:
    """A finished run of the tiny model."""
    from whywrong import api

    out = tmp_path_factory.mktemp("finished") / "run"
    api.diagnose(api.load_classifier(small.model), small.images, out, limit=3)
    return out
