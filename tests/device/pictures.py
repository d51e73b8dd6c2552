"""A few drawn photographs, some of them misread, on the host and as a folder of classes."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from whywrong.data.batches import load_images
from whywrong.models.loading.zoo import load_classifier

WRONG, RIGHT = 6, 18


@functools.cache
def _read() -> tuple[Tensor, Tensor, Tensor, tuple[str, ...]]:
    """Images, their classes, whether they are misread, and the names of all classes."""
    net = load_classifier("planted:cnn", device="cpu")
    assert net.classes is not None
    batches = load_images("planted:test", spec=net.preprocess, classes=net.classes, batch_size=256, limit=200)
    read = [(batch.x, batch.y) for batch in batches]
    x, y = torch.cat([images for images, _ in read]), torch.cat([labels for _, labels in read])
    return x, y, net.predict(x) != y, net.classes.names


@functools.cache
def drawn() -> tuple[Tensor, Tensor, tuple[str, ...]]:
    """Images (B, 3, 64, 64), the misread ones first, their classes (B,), and the names of all classes.

    Called outside of the stand-in, so that they lie on the host and no count is touched.
    """
    x, y, wrong, names = _read()
    rows = torch.cat([wrong.nonzero().flatten()[:WRONG], (~wrong).nonzero().flatten()[:RIGHT]])
    return x[rows], y[rows], names


def folder(place: Path) -> Path:
    """Those images as a folder of class folders."""
    return _written(place, *drawn())


def two_classes(place: Path) -> Path:
    """Many images, labelled with one of two classes in turn: enough of each to look for components in."""
    x, y, _, names = _read()
    return _written(place, x, y % 2, names)


def many(place: Path) -> Path:
    """Many images with their own labels, a few of each class."""
    x, y, _, names = _read()
    return _written(place, x, y, names)


def _written(place: Path, x: Tensor, y: Tensor, names: tuple[str, ...]) -> Path:
    for at, (image, label) in enumerate(zip(x, y.tolist(), strict=True)):
        (place / names[label]).mkdir(parents=True, exist_ok=True)
        pixels = (255 * image).round().byte().permute(1, 2, 0).contiguous().numpy()
        Image.fromarray(np.asarray(pixels)).save(place / names[label] / f"{at:03}.png")
    return place
