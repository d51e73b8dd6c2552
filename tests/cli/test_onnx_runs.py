"""An exported ONNX file goes through a whole run with every method that scores allow."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

pytest.importorskip("onnx", reason="the package onnx, with which models are exported, is not installed")
pytest.importorskip("onnxruntime", reason="ONNX Runtime (extra onnx) is not installed")

BY_SCORES = {"covering", "patch_groups", "profiles"}  # of the standard depth
CHEAP = ("--set", "profiles.max_passes=500", "--progress", "none")
CIFAR = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def exported(net: nn.Module, side: int, file: Path) -> Path:
    axes = {"images": {0: "n"}, "logits": {0: "n"}}
    names = {"input_names": ["images"], "output_names": ["logits"], "dynamic_axes": axes}
    torch.onnx.export(net.eval(), (torch.rand(2, 3, side, side),), file, dynamo=False, **names)
    return file


def statuses(whywrong, folder: Path, method: str) -> set[str]:
    code, out, _ = whywrong("query", folder, f"select distinct status from {method}", "--json")
    assert code == 0
    return {json.loads(line)["status"] for line in out.splitlines()}


def run(whywrong, model: Path, images: Path, folder: Path, *more: str) -> None:
    code, _, err = whywrong("diagnose", model, images, "--depth", "standard", "--out", folder, *CHEAP, *more)
    assert code in (0, 1), err  # 1: a file is broken
    meta = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    assert meta["usable_access"] == "SCORES"
    assert set(meta["methods"]) == BY_SCORES
    assert set(meta["refused"]) == {"cam", "inverted"}
    for method in sorted(BY_SCORES):
        assert "ok" in statuses(whywrong, folder, method)
    assert (folder / "report.html").stat().st_size > 10_000


def test_a_small_export_is_diagnosed_by_its_scores(whywrong, small, tmp_path):
    net = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3))
    with torch.no_grad():
        net[2].weight.copy_(30 * torch.eye(3))
        net[2].bias.zero_()
    (tmp_path / "classes.json").write_text('["red", "green", "blue"]', encoding="utf-8")
    options = ("--classes", str(tmp_path / "classes.json"), "--explain", "1")
    run(whywrong, exported(net, 16, tmp_path / "net.onnx"), small.images, tmp_path / "run", *options)


@pytest.mark.slow
def test_an_export_of_resnet20_is_diagnosed_by_its_scores(whywrong, shared_models, shared_data, tmp_path):
    with np.load(shared_data / "cifar10_test_a" / "test_jpeg.npz") as arrays:
        images, labels = arrays["images"][::50], arrays["labels"][::50]
    for number, (pixels, label) in enumerate(zip(images, labels, strict=True)):
        place = tmp_path / "images" / CIFAR[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(place / f"{number}.png")
    model = exported(shared_models("resnet20"), 32, tmp_path / "resnet20.onnx")
    options = ("--classes", "sorted", "--explain", "2")
    run(whywrong, model, tmp_path / "images", tmp_path / "run", *options)
