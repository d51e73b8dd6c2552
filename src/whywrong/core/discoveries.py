"""Which of many findings stand out from controls, with a bound on the share of false ones among them.

Source: Benjamini and Hochberg 1995, "Controlling the False Discovery Rate"; the rank against controls and its use for
places are ours (docs/methods/covering.md).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LEVEL = 0.1  # share of false ones among the places confirmed that is accepted
LEAST_CONTROLS = 20  # fewer cannot single anything out
ENOUGH_CONTROLS = 200  # from so many on, some can be kept apart


@dataclass(frozen=True, slots=True)
class Confirmed:
    """Findings against controls.

    Attributes:
        p: (M,) P values; NaN if there are too few controls.
        kept: (M,) bool, findings that stand out and are what they must be.
        tested: Whether there were enough controls.
    """

    p: np.ndarray
    kept: np.ndarray
    tested: bool


def confirm(v: np.ndarray, turned: np.ndarray, controls: np.ndarray, level: float = LEVEL) -> Confirmed:
    """Confirm the places whose number stands out from the controls and that turn the prediction.

    Args:
        v: (M,) what covering brings out, of all errors that were asked, see :func:`whywrong.explain.covering.covering`.
        turned: (M,) bool, whether the best window turns the prediction into the label.
        controls: (N,) the same number of images that are read right, asked for their runner-up.
        level: False discovery rate of the Benjamini-Hochberg procedure.
    """
    if len(controls) < LEAST_CONTROLS:
        return Confirmed(np.full(len(v), np.nan), np.zeros(len(v), bool), tested=False)
    p = rank_p_values(v, controls)
    return Confirmed(p, benjamini_hochberg(p, level) & np.asarray(turned, bool), tested=True)


def reference_of(v: np.ndarray, held_out: np.ndarray) -> np.ndarray:
    """Return the numbers (N,) of the controls that errors are compared with.

    Those held out are kept apart if 200 are left without them. Otherwise all that there are serve, and the rate of
    those held out, against the others, is that of a test with fewer controls.

    Args:
        v: (C,) numbers of all controls.
        held_out: (C,) bool, controls kept apart to see how often the test calls them.
    """
    rest = v[~held_out]
    return rest if len(rest) >= ENOUGH_CONTROLS else v


def rank_p_values(observed: np.ndarray, controls: np.ndarray) -> np.ndarray:
    """(M,) share of controls (N,) at least as large as each observation, which counts as one more control."""
    ranked = np.sort(controls)
    above = len(ranked) - np.searchsorted(ranked, observed, side="left")
    return (1 + above) / (len(ranked) + 1)


def benjamini_hochberg(p: np.ndarray, level: float) -> np.ndarray:
    """(M,) bool: the k smallest P values, for the largest k whose k-th lies at or below ``level * k / M``."""
    p = np.asarray(p, np.float64)
    if not len(p):
        return np.zeros(0, bool)
    ranked = np.sort(p)
    # A hair of slack: 0.1 * 30 / 100 and 3 / 100 differ in the last bit.
    below = (ranked <= level * np.arange(1, len(p) + 1) / len(p) * (1 + 1e-12)).nonzero()[0]
    return p <= ranked[below[-1]] if len(below) else np.zeros(len(p), bool)
