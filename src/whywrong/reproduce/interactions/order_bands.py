"""Bands of low, middle and high orders.

Source: Yao et al. 2023 (low up to 0.2, high from 0.8 of the players).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

BANDS = ("low", "mid", "high")
LOW, HIGH = 0.2, 0.8
_SLACK = 1e-9  # 0.29 * 100 is 28.999... in floats, and means 29


def within(orders: Sequence[int], players: int, low: float, high: float) -> np.ndarray:
    """Mark the orders from floor(low (n-2)) to floor(high (n-2)), (R,) bool.

    These are the orders of the ratios themselves.
    """
    s = np.asarray(orders)
    first, last = (int(ratio * (players - 2) + _SLACK) for ratio in (low, high))
    return (s >= first) & (s <= last)


def band_of(orders: Sequence[int], players: int) -> np.ndarray:
    """Mark low, middle and high orders, (3, R) bool.

    Low has r up to 0.2, high r from 0.8.
    """
    low, high = within(orders, players, 0, LOW), within(orders, players, HIGH, 1)
    return np.stack([low & ~high, ~low & ~high, high])
