"""Measurements made up for tests."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from whywrong.verdicts.measured import Measured


def make(
    margin: np.ndarray,
    *,
    tests: Mapping[str, np.ndarray] | None = None,
    signs: Mapping[str, np.ndarray] | None = None,
    name: str = "e",
    predicted: np.ndarray | None = None,
    sources: tuple[str, ...] | None = None,
) -> Measured:
    """Measurements of N images with these margins, whose logits have a standard deviation of about 1."""
    n, classes = len(margin), 4
    predicted = np.zeros(n, np.int64) if predicted is None else predicted
    label = (predicted + 1) % classes
    logits = np.tile(np.array([0.0, 0.0, 0.0, 0.0], np.float32), (n, 1))
    rows = np.arange(n)
    logits[rows, (predicted + 2) % classes] = -1.4
    logits[rows, (predicted + 3) % classes] = -1.4
    logits[rows, predicted] = 0.6 + margin
    logits[rows, label] = 0.6
    tests, signs = tests or {}, signs or {}
    return Measured(
        item_ids=tuple(f"{name}{row}" for row in rows),
        sources=sources or tuple(f"{name}{row}" for row in rows),
        label=label,
        predicted=predicted,
        logits=logits,
        features=np.zeros((n, 0), np.float32),
        sign_names=tuple(signs),
        signs=np.stack([*signs.values()], 1).astype(np.float32) if signs else np.zeros((n, 0), np.float32),
        test_names=tuple(tests),
        restored=np.stack([*tests.values()], 1).astype(np.float32) if tests else np.zeros((n, 0), np.float32),
        detail=np.zeros((n, 3, 0, 0), np.float16),
        helper_logits=np.zeros((0, n, classes), np.float32),
        forwards=np.ones(n, np.int64),
        backwards=np.zeros(n, np.int64),
    )
