"""What changes how the results must be read is said by the command that made them, with what to do."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest
from PIL import Image

CLASSES = ["ant", "bee", "cat", "dog"]
MODEL = '''
import torch
from torch import nn


class Reader(nn.Module):
    """Reads the class from the grey level of the image."""

    def forward(self, x):
        level = x.mean((1, 2, 3))[:, None]
        logits = -200 * (level - torch.tensor([0.2, 0.4, 0.6, 0.8])).square()
        {change}
        return logits


def net():
    model = Reader()
    model.input_size, model.classes = (3, 8, 8), ["ant", "bee", "cat", "dog"]
    return model
'''


def write_model(folder, *, change: str = "pass") -> str:
    path = folder / "model.py"
    path.write_text(MODEL.format(change=change), encoding="utf-8")
    return f"{path}:net"


@pytest.fixture
def images(tmp_path):
    """Eighty images of four grey levels in class folders, one in ten under a wrong label."""
    rng = np.random.default_rng(0)
    for number in range(80):
        level = number % 4
        label = (level + 1) % 4 if number % 10 == 0 else level
        place = tmp_path / "images" / CLASSES[label]
        place.mkdir(parents=True, exist_ok=True)
        pixels = 51 * (level + 1) + rng.integers(-8, 9, (8, 8, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(place / f"{number:02d}.png")
    return tmp_path / "images"


CASES = {
    "The labels look permuted": {"change": "logits = logits.roll(1, 1)"},
    "The model is hardly better than guessing": {
        "change": "logits = 9 * torch.eye(4)[(255 * x[:, 0]).round().sum((1, 2)).long() % 4] + 0 * logits"
    },
    "The model ignores the images": {"change": "logits = logits * 0 + torch.arange(4.0)"},
    "The model is randomised": {"change": "logits = logits + 5 * torch.rand_like(logits)"},
    "Answers depend on the other images of a batch": {"change": "logits = logits + 9 * len(x) * torch.eye(4)[0]"},
    "The gradient is zero on some images": {"change": "logits = (logits * 1e3).detach() + 0 * logits"},
}


@pytest.mark.parametrize("title", CASES)
def test_diagnose_says_at_its_end_and_in_the_report_what_it_found(whywrong, images, tmp_path, title):
    out = tmp_path / "run"
    command = ("diagnose", write_model(tmp_path, **CASES[title]), images, "--out", out, "--methods", "cam")
    for _ in range(2):  # a resumed run says it, too
        ended = whywrong(*command)
        talk = " ".join(ended.err.split())
        assert f"warning: {title}: " in talk
        assert talk.index("warning:") > talk.rindex("/80")  # after the progress
        html = (out / "report.html").read_text(encoding="utf-8")
        block = re.sub(r"<[^>]+>", "", html[html.index('class="doubts') : html.index("<h1")])
        assert f"{title}. " in block
        assert "What to do: " in block
        (out / "report.html").unlink()


def test_a_sound_model_raises_no_warning(whywrong, images, tmp_path):
    ended = whywrong("diagnose", write_model(tmp_path), images, "--out", tmp_path / "run", "--methods", "cam")
    assert "warning:" not in ended.err
    assert 'class="doubts' not in (tmp_path / "run" / "report.html").read_text(encoding="utf-8")


def test_pixels_that_are_normalised_twice_are_said(whywrong, small, tmp_path):
    twice = ("--mean", "0.9,0.1,0.1", "--std", "1,1,1")
    ended = whywrong("diagnose", small.model, small.images, "--out", tmp_path / "run", "--methods", "cam", *twice)
    assert "warning: The images look normalised twice: " in " ".join(ended.err.split())


def test_all_images_wrong_is_said(whywrong, images, tmp_path):
    for name in CLASSES[1:]:
        shutil.rmtree(images / name)
    model = write_model(tmp_path, change="logits = logits - 99 * torch.eye(4)[0]")
    ended = whywrong("diagnose", model, images, "--out", tmp_path / "run", "--methods", "cam")
    assert "warning: Every image is wrong: " in " ".join(ended.err.split())


def test_notes_about_the_data_are_said(whywrong, images, tmp_path):
    Image.new("RGB", (8, 8)).save(images / "loose.png")
    ended = whywrong("diagnose", write_model(tmp_path), images, "--out", tmp_path / "run", "--methods", "cam")
    assert "note: 1 images lie outside the class folders" in ended.err
