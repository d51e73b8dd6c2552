"""Metrics for probabilities of causes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BINS = 10


def confusion(truth: np.ndarray, predicted: np.ndarray, count: int) -> np.ndarray:
    """Compute the confusion matrix (K, K) int64, with true classes as rows."""
    found = np.zeros((count, count), np.int64)
    np.add.at(found, (truth, predicted), 1)
    return found


def macro_f1(truth: np.ndarray, predicted: np.ndarray, classes: Sequence[int]) -> float:
    """Compute the mean F1 score over classes that occur in the truth.

    Args:
        truth: (N,) int64.
        predicted: (N,) int64; a class outside ``classes`` counts as a missed one.
        classes: Classes to average over.

    Returns:
        Mean F1 score; NaN if none of the classes occurs.
    """
    scores = []
    for k in classes:
        is_true, is_predicted = truth == k, predicted == k
        if is_true.any():
            scores.append(2 * (is_true & is_predicted).sum() / (is_true.sum() + is_predicted.sum()))
    return float(np.mean(scores)) if scores else float("nan")


def f1_of_causes(p: np.ndarray, truth: np.ndarray, ordinary: int) -> tuple[float, float]:
    """Compute macro-F1 over the causes alone, and with ordinary errors.

    Args:
        p: (N, K) probabilities.
        truth: (N,) int64.
        ordinary: Class of errors without a known cause.

        Returns:
            Macro-F1 over the errors with a cause, and macro-F1 over all errors and classes. In both, all classes of
            ``p`` can be predicted.
    """
    some = truth != ordinary
    causes = [k for k in range(p.shape[1]) if k != ordinary]
    without = p[some].copy()
    without[:, ordinary] = -1
    alone = macro_f1(truth[some], without.argmax(1), causes) if some.any() else float("nan")
    return alone, macro_f1(truth, p.argmax(1), range(p.shape[1]))


def recall_by(truth: np.ndarray, predicted: np.ndarray, kind: np.ndarray) -> dict[str, tuple[int, int]]:
    """Count correctly predicted errors and all errors, by kind of the cause."""
    return {str(k): (int((truth == predicted)[kind == k].sum()), int((kind == k).sum())) for k in np.unique(kind)}


def calibration_error(confidence: np.ndarray, right: np.ndarray, bins: int = BINS) -> float:
    """Compute the expected calibration error with bins of equal mass.

    Args:
        confidence: (N,) probability of the predicted class.
        right: (N,) bool, whether the prediction is correct.
        bins: Number of bins; fewer if there are fewer items.
    """
    return float(_errors(confidence, right[None], bins)[0])


def _errors(confidence: np.ndarray, right: np.ndarray, bins: int) -> np.ndarray:
    """Return the calibration errors (D,) of D outcomes (D, N) of the same predictions."""
    n = len(confidence)
    if not n:
        return np.full(len(right), np.nan)
    order = np.argsort(confidence, kind="stable")
    starts = [int(part[0]) for part in np.array_split(np.arange(n), min(bins, n))]
    gaps = np.add.reduceat(confidence[order] - right[:, order], starts, axis=1)
    return np.abs(gaps).sum(1) / n


@dataclass(frozen=True, slots=True)
class NullBand:
    """Calibration error of a perfectly calibrated predictor with the same probabilities.

    Attributes:
        mean: Mean over simulations.
        high: 95 % quantile.
    """

    mean: float
    high: float


def null_band(confidence: np.ndarray, *, draws: int = 1000, seed: int = 0) -> NullBand:
    """Simulate the calibration error of a perfectly calibrated predictor.

    Its predictions are correct with the given probabilities.

    Args:
        confidence: (N,) probability of the predicted class.
        draws: Number of simulations.
        seed: Seed of the simulations.
    """
    right = np.random.default_rng(seed).random((draws, len(confidence))) < confidence
    found = _errors(confidence, right, BINS)
    return NullBand(float(np.mean(found)), float(np.quantile(found, 0.95)))


def classwise_error(p: np.ndarray, truth: np.ndarray) -> float:
    """Compute the calibration error of each class probability, and return the mean."""
    return float(np.mean([calibration_error(p[:, k], truth == k) for k in range(p.shape[1])]))


def brier(p: np.ndarray, truth: np.ndarray) -> float:
    """Compute the Brier score, 0 to 2."""
    target = np.zeros_like(p)
    target[np.arange(len(p)), truth] = 1
    return float(np.square(p - target).sum(1).mean())


def accuracy_at(p: np.ndarray, truth: np.ndarray, coverage: float) -> float:
    """Compute the accuracy of the most confident predictions.

    Args:
        p: (N, K) probabilities.
        truth: (N,) int64.
        coverage: Share of predictions to include, in (0, 1].
    """
    order = np.argsort(-p.max(1), kind="stable")[: max(1, round(coverage * len(p)))]
    return float((p.argmax(1) == truth)[order].mean())


def risk_coverage(p: np.ndarray, truth: np.ndarray, steps: int = 20) -> list[tuple[float, float]]:
    """Compute pairs of coverage and share of wrong predictions."""
    return [(k / steps, 1 - accuracy_at(p, truth, k / steps)) for k in range(1, steps + 1)]


def top_two(p: np.ndarray, truth: np.ndarray) -> float:
    """Compute the top-2 accuracy."""
    return float((np.argsort(-p, axis=1, kind="stable")[:, :2] == truth[:, None]).any(1).mean())


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Metrics of one set of predictions.

    Attributes:
        n: Number of errors.
        f1_causes: Macro-F1 over the causes, without ordinary errors.
        f1_all: Macro-F1 with ordinary errors as a further class.
        accuracy_50: Accuracy of the most confident half.
        accuracy_70: Accuracy of the most confident 70 %.
        ece: Expected calibration error.
        ece_null: Mean of the same for a perfectly calibrated predictor.
        ece_high: 95 % quantile of the same.
        ece_classes: Mean calibration error over the classes.
        brier: Brier score.
        top_two: Top-2 accuracy.
        coverage: Share of errors for which a cause is stated.
        stated_right: Share of the stated causes that are correct.
        ordinary_called: Share of the ordinary errors, bystanders included, for which a cause is stated.
        bystanders_corruption: Share of the bystanders with the stated cause corruption; NaN without bystanders.
        set_coverage: Share of errors whose class is in the 90 % prediction set.
        set_size: Mean size of the prediction sets.
    """

    n: int
    f1_causes: float
    f1_all: float
    accuracy_50: float
    accuracy_70: float
    ece: float
    ece_null: float
    ece_high: float
    ece_classes: float
    brier: float
    top_two: float
    coverage: float
    stated_right: float
    ordinary_called: float
    bystanders_corruption: float
    set_coverage: float
    set_size: float


def figures(
    p: np.ndarray,
    truth: np.ndarray,
    *,
    classes: Sequence[str],
    threshold: float | np.ndarray,
    sets: np.ndarray,
    bystander: np.ndarray | None = None,
) -> Figures:
    """Compute all metrics of one set of calibrated predictions.

    Args:
        p: (N, K) calibrated probabilities; N at least 1.
        truth: (N,) int64.
        classes: Names of the K classes, with "ordinary" and "corruption".
        threshold: Smallest probability of a stated cause, one number or (N,).
        sets: (N, K) bool, prediction sets.
        bystander: (N,) bool, whether the error has added damage that does not cause it.
    """
    ordinary, damage = classes.index("ordinary"), classes.index("corruption")
    best, top = p.argmax(1), p.max(1)
    right = best == truth
    alone, everything = f1_of_causes(p, truth, ordinary)
    null = null_band(top, draws=300)
    stated = (best != ordinary) & (top >= threshold)
    beside = np.zeros(len(p), dtype=bool) if bystander is None else bystander
    return Figures(
        n=len(p),
        f1_causes=alone,
        f1_all=everything,
        accuracy_50=accuracy_at(p, truth, 0.5),
        accuracy_70=accuracy_at(p, truth, 0.7),
        ece=calibration_error(top, right),
        ece_null=null.mean,
        ece_high=null.high,
        ece_classes=classwise_error(p, truth),
        brier=brier(p, truth),
        top_two=top_two(p, truth),
        coverage=float(stated.mean()),
        stated_right=_mean(right[stated]),
        ordinary_called=_mean(stated[truth == ordinary]),
        bystanders_corruption=_mean((stated & (best == damage))[beside]),
        set_coverage=float(sets[np.arange(len(p)), truth].mean()),
        set_size=float(sets.sum(1).mean()),
    )


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")
