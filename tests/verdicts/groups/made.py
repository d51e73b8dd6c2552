"""Rows of a run made of random numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from whywrong.core.classes import ClassList
from whywrong.verdicts.groups import Rows


def rows_of(label: np.ndarray, predicted: np.ndarray, classes: int = 10, **more: Any) -> Rows:
    """Return rows with these labels and predictions, distinct sources and middling probabilities."""
    n = len(label)
    wrong = label != predicted
    values: dict[str, Any] = {
        "item_ids": tuple(f"i{row:04d}" for row in range(n)),
        "sources": tuple(f"s{row}" for row in range(n)),
        "label": np.asarray(label),
        "predicted": np.asarray(predicted),
        "confidence": np.full(n, 0.7),
        "true_confidence": np.where(wrong, 0.2, 0.7),
        "rank": np.where(wrong, 2, 1),
        "classes": ClassList(tuple(f"class {index}" for index in range(classes))),
    }
    return Rows(**{**values, **more})


def guesses(n: int = 400, classes: int = 10, accuracy: float = 0.7, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and predictions whose errors go anywhere."""
    random = np.random.default_rng(seed)
    label = random.integers(0, classes, n)
    other = (label + random.integers(1, classes, n)) % classes
    return label, np.where(random.random(n) < accuracy, label, other)


def pictures(n: int, side: int = 24, seed: int = 0) -> np.ndarray:
    """Return (n, 3, side, side) uint8 pictures of many colours."""
    random = np.random.default_rng(seed)
    coarse = random.integers(40, 200, (n, 3, side // 4, side // 4))
    fine = random.integers(-30, 31, (n, 3, side, side))
    return np.clip(np.kron(coarse, np.ones((1, 1, 4, 4), int)) + fine, 0, 255).astype(np.uint8)
