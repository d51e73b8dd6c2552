"""Calibrated causes of errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Prediction:
    """Calibrated causes of N errors.

    Attributes:
        probability_flat: (N, 8) float64, probabilities of the classes when all are equally frequent.
        probability: (N, 8) float64, the same with the class shares of these errors; equal for fewer than 50 errors.
        prior: (8,) float64, the class shares.
        cause: (N,) likeliest class.
        kind: (N,) kind of the likeliest cause, that of the most similar errors of the training; empty for "ordinary".
        set90: N sets of classes that hold the true class in 90 % of errors of each class, likeliest first.
        stated: (N,) bool, whether the likeliest cause is sure enough to be stated if its test supports it.
        reason: (N,) why no cause is stated, otherwise empty.
        lacks: N lists of groups and signs that were not available or not measured.
        unseen: (N,) bool, whether an error is unlike all errors of the training.
        situation: What was available, as "I3+helper".
        threshold: Probability from which a cause is stated.
        drift: Share of the reference's signs that are outside the range of the models of the training.
        note: A remark on all of them, otherwise empty.
    """

    probability_flat: np.ndarray
    probability: np.ndarray
    prior: np.ndarray
    cause: tuple[str, ...]
    kind: tuple[str, ...]
    set90: tuple[tuple[str, ...], ...]
    stated: np.ndarray
    reason: tuple[str, ...]
    lacks: tuple[tuple[str, ...], ...]
    unseen: np.ndarray
    situation: str
    threshold: float
    drift: float
    note: str
