"""A classifier of 16-pixel images whose answers are known, and runs of it.

The class is the quadrant that is brightest. A red dot in a corner adds to class 0, whatever the quadrants show.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from whywrong.core.access import Access
from whywrong.core.classes import ClassList
from whywrong.core.input_spec import InputSpec
from whywrong.data.sources import Source, open_source
from whywrong.models.classifier import Classifier
from whywrong.runs.folder import RunFolder

SIDE = 16
NAMES = ("nw", "ne", "sw", "se")
SPEC = InputSpec(height=SIDE, width=SIDE)


class Quadrants(nn.Module):
    """Logits from the mean of each quadrant."""

    def __init__(self, dot: float = 30.0, seed: int | None = None) -> None:
        super().__init__()
        self.head = nn.Linear(5, 4)
        with torch.no_grad():
            self.head.weight.copy_(torch.cat([30 * torch.eye(4), torch.tensor([[dot], [0], [0], [0]])], 1))
            self.head.bias.zero_()
            if seed is not None:
                self.head.weight.copy_(torch.randn(4, 5, generator=torch.Generator().manual_seed(seed)))

    def forward(self, x: Tensor) -> Tensor:
        half = SIDE // 2
        parts = [x[:, :, r : r + half, c : c + half].mean((1, 2, 3)) for r in (0, half) for c in (0, half)]
        red = (x[:, 0, -4:, -4:] - x[:, 1, -4:, -4:]).clamp_min(0).mean((1, 2))
        return self.head(torch.stack([*parts, red], 1))


@dataclass(frozen=True)
class Recipe:
    """Rebuilds the classifier in a worker."""

    dot: float = 30.0
    seed: int | None = None
    access: Access | None = None
    identity: str = "quadrants"
    model: str = "quadrants"
    names: tuple[str, ...] = NAMES

    def build(self) -> Classifier:
        return Classifier(
            Quadrants(self.dot, self.seed),
            classes=ClassList(self.names),
            preprocess=SPEC,
            access=self.access,
            identity=self.identity,
            recipe=self,
        )


def classifier(**settings: Any) -> Classifier:
    """The classifier, with a recipe."""
    return Recipe(**settings).build()


def images(count: int, seed: int = 0, *, wrong: float = 0.1, dots: float = 0.1) -> tuple[np.ndarray, np.ndarray]:
    """(N, 16, 16, 3) uint8 and labels (N,), some of them wrong, and some images with a red dot."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, 4, count)
    pixels = rng.integers(40, 120, (count, SIDE, SIDE, 3)).astype(np.int64)
    half = SIDE // 2
    for number, quadrant in enumerate(true):
        row, column = divmod(int(quadrant), 2)
        area = pixels[number, row * half : (row + 1) * half, column * half : (column + 1) * half]
        area += rng.integers(15, 90)
    labels = np.where(rng.random(count) < wrong, rng.integers(0, 4, count), true)
    dotted = rng.random(count) < dots
    pixels[dotted, -4:, -4:] = (250, 10, 10)
    return pixels.clip(0, 255).astype(np.uint8), labels


def source(folder: Path, count: int, seed: int = 0, **settings: float) -> Source:
    """An ``.npz`` of :func:`images`."""
    folder.mkdir(parents=True, exist_ok=True)
    pixels, labels = images(count, seed, **settings)
    np.savez(folder / "data.npz", images=pixels, labels=labels)
    return open_source(folder / "data.npz")


def diagnosed(folder: Path, images: Source, model: Classifier | None = None) -> RunFolder:
    """A run of predictions alone."""
    from whywrong.runs.diagnose import diagnose
    from whywrong.runs.options import RunOptions

    return diagnose(model or classifier(), images, folder, RunOptions(methods=[], limit=0, batch_size=32))
