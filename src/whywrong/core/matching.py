"""Matching of items to controls by one number, without replacement."""

from __future__ import annotations

import numpy as np


def match_nearest(targets: np.ndarray, pool: np.ndarray, wanted: int) -> np.ndarray:
    """Pick the nearest free entries of a pool for each target in turn.

    Each target in order gets one entry, then each a second one, and so on. Of two equally near entries the lower one is
    taken, and of equal entries the first in sorted order.

    Args:
        targets: (M,) finite numbers to be matched.
        pool: (N,) finite numbers to pick from.
        wanted: Number of entries to pick; fewer if the pool is smaller, none if there are no targets.

    Returns:
        (P,) int64, distinct indices into ``pool``, in the order in which they were picked.
    """
    if not len(targets):
        return np.empty(0, np.int64)
    order = np.argsort(pool, kind="stable")
    values = np.asarray(pool)[order]
    n = len(values)
    # Nearest free entries at or before i, shifted by one (0 means none), and at or after i (n means none).
    before, after = list(range(n + 1)), list(range(n + 1))
    picked = np.empty(min(wanted, n), np.int64)
    start = np.searchsorted(values, targets)
    for turn in range(len(picked)):
        target, at = targets[turn % len(targets)], int(start[turn % len(targets)])
        low, high = _free(before, at) - 1, _free(after, at)
        take = low if high == n or (low >= 0 and target - values[low] <= values[high] - target) else high
        picked[turn] = order[take]
        before[take + 1], after[take] = take, take + 1
    return picked


def _free(links: list[int], at: int) -> int:
    """Follow the links of taken entries to a free one, with path compression."""
    while links[at] != at:
        links[at] = links[links[at]]
        at = links[at]
    return at
