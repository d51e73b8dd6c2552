"""Controls of an error, which are correct images with a similar margin.

Any edit changes predictions near the decision boundary more often than others, whatever the cause of the error.
Evidence is therefore the difference from images at an equal distance from the boundary (docs/methods/interventions.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from whywrong.verdicts.measured import Measured

FEWEST_CONTROLS = 60  # with fewer, three tests corrected by Holm cannot reach 0.05
MOST_CONTROLS = 100
SAME_CLASS = 10  # controls of the same class are preferred if there are this many
CALIPER = 0.5  # largest excess of a control's margin, in standard deviations of the logits of an image


def margins(measured: Measured, scale: float) -> np.ndarray:
    """Compute the logit of the predicted class minus that of the label.

    Args:
        measured: Images with logits.
        scale: Divisor of the logits, see :func:`logit_scale`.

    Returns:
        Margins (N,) float64; NaN without logits.
    """
    if not measured.logits.shape[1]:
        return np.full(len(measured), np.nan)
    rows = np.arange(len(measured))
    logits = measured.logits.astype(np.float64)
    return (logits[rows, measured.predicted] - logits[rows, measured.label]) / scale


def logit_scale(reference: Measured) -> float:
    """Compute the median over images of the standard deviation of the logits.

    Returns 1 without logits."""
    if not reference.logits.shape[1] or not len(reference):
        return 1.0
    return float(np.median(reference.logits.astype(np.float64).std(1))) or 1.0


def matched_controls(
    margin: np.ndarray,
    pool_margin: np.ndarray,
    group: np.ndarray | None = None,
    pool_group: np.ndarray | None = None,
    *,
    sources: Sequence[str] = (),
    pool_sources: Sequence[str] = (),
    want: tuple[int, int] = (FEWEST_CONTROLS, MOST_CONTROLS),
    caliper: float = CALIPER,
) -> np.ndarray:
    """Find the images of a pool that are nearest in margin.

    Up to half of the controls have the same class, if at least 10 of the nearest images have it. Images of the same
    source and images whose margin is larger by more than the caliper are excluded. Images nearer to the boundary than
    the error change more easily, which makes the test conservative.

    Args:
        margin: (N,) margins of the errors; NaN gets no controls.
        pool_margin: (R,) margins of the pool; NaN is never a control.
        group: (N,) predicted classes; None ignores classes.
        pool_group: (R,) predicted classes of the pool.
        sources: N sources of the errors; empty if none of them is in the pool.
        pool_sources: R sources of the pool.
        want: Smallest and largest number of controls per error.
        caliper: Largest excess of a control's margin.

    Returns:
        (N, want[1]) int64 indices into the pool, nearest first, then -1; all -1 if fewer than ``want[0]`` are found.
    """
    found = np.full((len(margin), want[1]), -1, np.int64)
    if not len(pool_margin):
        return found
    names = {name: at for at, name in enumerate(dict.fromkeys([*sources, *pool_sources]))}
    own = np.array([names[name] for name in sources], np.int64)
    others = np.array([names[name] for name in pool_sources], np.int64)
    for row, start in enumerate(margin):
        away = np.abs(pool_margin - start)
        allowed = pool_margin - start <= caliper  # False for NaN
        if len(own):
            allowed &= others != own[row]
        order = np.argsort(np.where(allowed, away, np.inf), kind="stable")[: int(allowed.sum())]
        if group is not None and pool_group is not None:
            order = _prefer(order, pool_group[order] == group[row], want[1])
        if len(order) >= want[0]:
            chosen = order[: want[1]]
            found[row, : len(chosen)] = chosen
    return found


def _prefer(order: np.ndarray, alike: np.ndarray, most: int) -> np.ndarray:
    """Move up to half of the controls to those of the same class among the nearest ``2 * most``."""
    near, alike = order[: 2 * most], alike[: 2 * most]
    same = near[alike][: most // 2]
    if len(same) < SAME_CLASS:
        return order
    rest = near[~np.isin(near, same)][: most - len(same)]
    kept = np.concatenate([same, rest])
    return near[np.isin(near, kept)]
