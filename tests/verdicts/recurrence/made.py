"""Errors made of noise, with marks pasted in."""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from whywrong.verdicts.measured import Measured
from whywrong.verdicts.recurrence import fine_content

SIDE = 32


def pictures(n: int, seed: int = 0) -> np.ndarray:
    """Return (n, 3, 32, 32) float32 smooth random pictures with edges."""
    random = np.random.default_rng(seed)
    smooth = gaussian_filter(random.normal(size=(n, 3, SIDE, SIDE)), (0, 0, 3, 3)) * 3
    steps = np.sign(gaussian_filter(random.normal(size=(n, 1, SIDE, SIDE)), (0, 0, 4, 4))) * 0.2
    return np.clip(0.5 + smooth + steps, 0, 1).astype(np.float32)


def pattern(side: int, seed: int) -> np.ndarray:
    """Return a mark (3, side, side) of random colours."""
    return np.random.default_rng(seed).random((3, side, side)).astype(np.float32)


def paste(x: np.ndarray, rows: np.ndarray, mark: np.ndarray, jitter: int = 0, seed: int = 0) -> None:
    """Paste a mark near the lower right corner of some pictures, in place."""
    random = np.random.default_rng(seed)
    side = mark.shape[-1]
    for row in rows:
        top, left = SIDE - 3 - side + random.integers(-jitter, jitter + 1, 2)
        x[row, :, top : top + side, left : left + side] = mark


def measured(x: np.ndarray, predicted: np.ndarray, sources: tuple[str, ...] | None = None) -> Measured:
    """Return errors with fine content and nothing else."""
    n = len(x)
    nothing = np.zeros((n, 0), np.float32)
    return Measured(
        item_ids=tuple(f"i{row}" for row in range(n)),
        sources=sources or tuple(f"s{row}" for row in range(n)),
        label=(predicted + 1) % 5,
        predicted=predicted,
        logits=nothing,
        features=nothing,
        sign_names=(),
        signs=nothing,
        test_names=(),
        restored=nothing,
        detail=fine_content(torch.from_numpy(x)).numpy(),
        helper_logits=np.zeros((0, n, 0), np.float32),
        forwards=np.zeros(n, np.int64),
        backwards=np.zeros(n, np.int64),
    )
