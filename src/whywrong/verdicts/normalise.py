"""Normalisation of signs against the role-played reference images.

A sign of an error is expressed by its place among the same sign of correctly classified images, each of which plays the
part of an error with its runner-up as the label. Such signs carry over between models and data sets (ours,
docs/methods/verdict.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LEAST_REFERENCE = 50  # with fewer images, quantiles of the reference mean little
LIMIT = 5.0  # largest normal score
_TEN_NINETY = 2.563  # distance of the 10 % and 90 % quantiles of the normal distribution, in standard deviations


def runner_up(logits: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """Return the class with the largest logit but the predicted one.

    Args:
        logits: (N, K), at least two classes.
        predicted: (N,) int64.

    Returns:
        (N,) int64.
    """
    others = np.array(logits, dtype=np.float64)
    others[np.arange(len(others)), predicted] = -np.inf
    return others.argmax(1)


def normal_scores(values: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Convert values to normal scores of their ranks among the reference.

    The score is ``Phi^-1((rank + 1/2) / (n + 1))`` with ties counted half. Beyond the range of the reference, it grows
    without a jump by ``log(1 + |s - median| / spread)``, where spread is the distance of the 10 % and 90 % quantiles in
    standard deviations of a normal distribution. Scores are cut at +-5.

    Args:
        values: (N, F), NaN if missing.
        reference: (R, F), the same signs of the reference, NaN if missing.

    Returns:
        (N, F) float32; NaN if the value is missing, or if fewer than 50 reference images have the sign.
    """
    values, reference = np.asarray(values, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    found = np.full(values.shape, np.nan, dtype=np.float32)
    for column in range(values.shape[1]):
        known = np.sort(reference[np.isfinite(reference[:, column]), column])
        there = np.isfinite(values[:, column])
        if len(known) >= LEAST_REFERENCE and there.any():
            found[there, column] = _scores(values[there, column], known)
    return found


def _scores(values: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Return the scores (M,) of finite values among sorted finite reference values (n,)."""
    from scipy.special import ndtri

    n = len(known)
    rank = (np.searchsorted(known, values, "left") + np.searchsorted(known, values, "right")) / 2
    middle, spread = float(np.median(known)), _spread(known)
    nearest = np.clip(values, known[0], known[-1])  # the value itself inside the range
    more = np.log1p(np.abs(values - middle) / spread) - np.log1p(np.abs(nearest - middle) / spread)
    score = ndtri((rank + 0.5) / (n + 1)) + np.sign(values - nearest) * more
    return np.clip(score, -LIMIT, LIMIT)


def _spread(known: np.ndarray) -> float:
    """Return the spread of sorted values, never 0."""
    low, high = np.quantile(known, [0.1, 0.9])
    spread = (high - low) / _TEN_NINETY
    if spread <= 0:  # most values are equal
        spread = float(np.std(known))
    return max(spread, 1e-6 * max(abs(float(np.median(known))), 1.0))


def normalised(values: np.ndarray, reference: np.ndarray, kinds: Sequence[str]) -> np.ndarray:
    """Normalise signs of each kind.

    Args:
        values: (N, F) raw signs.
        reference: (R, F) raw signs of the role-played reference.
        kinds: "share" is kept as it is; "quantity" and "logit" become normal scores, which do not depend on the scale
            of the logits.

    Returns:
        (N, F) float32. With fewer than 50 reference images, everything but the shares is NaN.
    """
    found = np.where(np.isfinite(values), values, np.nan).astype(np.float32)
    ranked = np.array([kind != "share" for kind in kinds], dtype=bool)
    found[:, ranked] = normal_scores(values[:, ranked], reference[:, ranked])
    return found
