"""Small data sets in the shapes in which people have them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

SIDE = 8


def pixels(count: int = 6, *, side: int = SIDE) -> np.ndarray:
    """(N, H, W, 3) uint8, from dark to bright, no two alike."""
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def tensors(count: int = 6) -> Tensor:
    """The same as (N, 3, H, W) float32 in [0, 1]."""
    return torch.from_numpy(pixels(count)).permute(0, 3, 1, 2).float() / 255


def labels(count: int = 6) -> Tensor:
    """0, 1, 2, 0, 1, 2 ..."""
    return torch.arange(count) % 3


class Samples(Dataset):
    """Any samples by number."""

    def __init__(self, samples):
        self.samples = list(samples)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, number: int):
        if not 0 <= number < len(self.samples):
            raise IndexError(number)
        return self.samples[number]


class Stream(IterableDataset):
    """The same without numbers and length."""

    def __init__(self, samples):
        self.samples = samples

    def __iter__(self):
        return iter(self.samples)


def write_folder(folder: Path, count: int = 6, *, side: int = 12) -> Path:
    """Class folders a, b and c with PNG files."""
    for number, image in enumerate(pixels(count, side=side)):
        place = folder / "abc"[number % 3]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(place / f"{number}.png")
    return folder
