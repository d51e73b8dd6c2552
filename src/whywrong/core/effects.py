"""Intervals and an exact test of the effects of interventions."""

from __future__ import annotations

import math

import numpy as np

from whywrong.core.statistics import wilson

_Z90 = 1.6448536269514722


def share_interval(restored: float, edits: int, control: np.ndarray) -> tuple[float, float]:
    """Compute the 90 % interval of a share minus the mean of its controls.

    The edits count as draws of what the intervention may do (Wilson's interval). The two errors are combined as by
    Newcombe 1998, "Interval estimation for the difference between independent proportions", method 10.
    """
    share = wilson(round(restored * edits), edits, _Z90)
    mean, half = float(control.mean()), _Z90 * float(control.std(ddof=1)) / math.sqrt(len(control))
    low = restored - mean - math.hypot(restored - share.low, half)
    high = restored - mean + math.hypot(share.high - restored, half)
    return max(low, -1.0), min(high, 1.0)


def sign_test(wins: int, losses: int) -> float:
    """Compute the one-sided P value that wins and losses are equally likely."""
    n = wins + losses
    return sum(math.comb(n, k) for k in range(wins, n + 1)) / 2**n


def paired_interval(wins: int, losses: int, pairs: int) -> tuple[float, float]:
    """Compute the 90 % interval of a difference of paired shares.

    Half a win, half a loss and two pairs are added.

    Source: Agresti and Min 2005, "Simple improved confidence intervals for comparing matched proportions".
    """
    more, fewer, count = wins + 0.5, losses + 0.5, pairs + 2
    middle = (more - fewer) / count
    half = _Z90 * math.sqrt(max(more + fewer - (more - fewer) ** 2 / count, 0.0)) / count
    return max(middle - half, -1.0), min(middle + half, 1.0)
