"""Comparison of two yes-or-no answers about the same errors."""

from __future__ import annotations

import numpy as np

from whywrong.core.statistics import exact_share, share_p
from whywrong.reproduce.protocol import Part


def paired(first: np.ndarray, second: np.ndarray) -> Part:
    """Compare how often two answers (N,) bool are true.

    Only errors on which they differ count: the effect is the share of these on which ``first`` is true, one half if
    there is no difference (the exact test of McNemar 1947). Undecided if they never differ.
    """
    alone, differing = int((first & ~second).sum()), int((first != second).sum())
    p = share_p(alone, differing, 0.5) if differing else 1.0
    return Part(exact_share(alone, differing), p, 0.5)


def rate(values: np.ndarray) -> float | None:
    """Return the share of true values.

    None if there are no values.
    """
    return float(values.mean()) if len(values) else None


def percent(share: float) -> str:
    """Format a share with three digits."""
    return f"{100 * share:.3g} %"
