"""The handwritten digits that come with scikit-learn, as images for the demo; nothing is downloaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 32


def load_digits() -> tuple[np.ndarray, np.ndarray]:
    """The 1,797 digits of the UCI test set, enlarged from 8 x 8 to 32 x 32 pixels.

    Returns:
        Images (N, 32, 32) uint8 and labels (N,) int64 in 0..9, in the order of scikit-learn: written by 13 people
        one after the other, so that the first and the last differ in hand.
    """
    from sklearn.datasets import load_digits as read

    values, labels = (np.asarray(column) for column in read(return_X_y=True))
    small = np.rint(values.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)  # 17 grey levels
    large = [np.asarray(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for image in small]
    return np.stack(large), labels.astype(np.int64)


def write_class_folders(folder: Path, images: np.ndarray, labels: np.ndarray) -> None:
    """Write grey images (N, H, W) uint8 as ``folder/<label>/<number>.png``."""
    for label in np.unique(labels):
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        Image.fromarray(image).save(folder / str(label) / f"{number:04d}.png")
