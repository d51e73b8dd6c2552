"""Calibrated probabilities of the causes of errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Prediction:
    """Calibrated probabilities of the causes of N errors.

    Attributes:
        probability_flat: (N, 8) float64, probabilities for equal class shares.
        probability: (N, 8) float64, probabilities for the class shares ``prior`` of these errors.
        prior: (8,) float64, estimated class shares; equal for fewer than 50 errors.
        cause: (N,) most probable class.
        kind: (N,) kind of the most probable cause, from the most similar errors of the training set; empty for
            "ordinary".
        set90: N prediction sets that contain the true class with 90 % probability, most probable class first.
        stated: (N,) bool, whether the most probable cause may be stated if its test supports it.
        reason: (N,) why no cause is stated, otherwise empty.
        lacks: N lists of groups and signs that were not available or not measured.
        unseen: (N,) bool, whether an error is unlike all errors of the training set.
        situation: Name of the available evidence, such as "I3+helper".
        threshold: Smallest probability of a stated cause.
        drift: Share of reference signs outside the range of the models of the training set.
        note: A remark on all errors, otherwise empty.
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
