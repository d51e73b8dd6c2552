"""Findings that stand out from controls, with a bound on the false discovery rate.

Source: Benjamini and Hochberg 1995, "Controlling the False Discovery Rate"; the rank against controls and its use for
places are ours (docs/methods/covering.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LEVEL = 0.1  # accepted share of false discoveries among the confirmed places
LEAST_CONTROLS = 20  # with fewer, no finding can be significant
ENOUGH_CONTROLS = 200  # with at least this many, some can be held out


@dataclass(frozen=True, slots=True)
class Confirmed:
    """Findings tested against controls.

    Attributes:
        p: (M,) P values; NaN if there are too few controls.
        kept: (M,) bool, findings that are significant and turn the prediction.
        tested: Whether there were enough controls.
    """

    p: np.ndarray
    kept: np.ndarray
    tested: bool


def confirm(v: np.ndarray, turned: np.ndarray, controls: np.ndarray, level: float = LEVEL) -> Confirmed:
    """Confirm the places that stand out from the controls and turn the prediction.

    Args:
        v: (M,) statistic of each tested error, see :func:`whywrong.explain.covering.covering`.
        turned: (M,) bool, whether the best window turns the prediction into the label.
        controls: (N,) the same statistic of correctly classified images, with their runner-up as the label.
        level: False discovery rate of the Benjamini-Hochberg procedure.
    """
    if len(controls) < LEAST_CONTROLS:
        return Confirmed(np.full(len(v), np.nan), np.zeros(len(v), bool), tested=False)
    p = rank_p_values(v, controls)
    return Confirmed(p, benjamini_hochberg(p, level) & np.asarray(turned, bool), tested=True)


def reference_of(v: np.ndarray, held_out: np.ndarray) -> np.ndarray:
    """Return the values of the controls that errors are compared with.

    The held-out controls are excluded if at least 200 others remain. Otherwise all controls are used, and the rate of
    the held-out ones, tested against the others, is that of a test with fewer controls.

    Args:
        v: (C,) values of all controls.
        held_out: (C,) bool, controls held out to measure how often the test confirms them.

    Returns:
        (N,) values.
    """
    rest = v[~held_out]
    return rest if len(rest) >= ENOUGH_CONTROLS else v


def rank_p_values(observed: np.ndarray, controls: np.ndarray) -> np.ndarray:
    """Compute rank P values of observations (M,) against controls (N,).

    Returns:
        (M,) share of controls at least as large as each observation, which itself counts as one more control.
    """
    ranked = np.sort(controls)
    above = len(ranked) - np.searchsorted(ranked, observed, side="left")
    return (1 + above) / (len(ranked) + 1)


def benjamini_hochberg(p: np.ndarray, level: float) -> np.ndarray:
    """Select P values with the Benjamini-Hochberg procedure.

    Returns:
        (M,) bool, True for the k smallest P values, for the largest k whose k-th is at most ``level * k / M``.
    """
    p = np.asarray(p, np.float64)
    if not len(p):
        return np.zeros(0, bool)
    ranked = np.sort(p)
    # Some slack for rounding: 0.1 * 30 / 100 and 3 / 100 differ in the last bit.
    below = (ranked <= level * np.arange(1, len(p) + 1) / len(p) * (1 + 1e-12)).nonzero()[0]
    return p <= ranked[below[-1]] if len(below) else np.zeros(len(p), bool)
