"""Calibration of probabilities, abstention, prediction sets and priors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LEAST_FOR_PRIOR = 50  # errors below which class shares are not estimated
PSEUDO_COUNT = (
    40.0  # imagined errors of each class; without them, the largest class takes all errors of an unsure model
)
_SMALLEST = 1e-7


def tempered(p: np.ndarray, temperature: float) -> np.ndarray:
    """Apply temperature scaling to probabilities (N, K)."""
    log_p = np.log(np.maximum(np.asarray(p, dtype=np.float64), _SMALLEST)) / temperature
    raised = np.exp(log_p - log_p.max(1, keepdims=True))
    return raised / raised.sum(1, keepdims=True)


def fit_temperature(p: np.ndarray, truth: np.ndarray) -> float:
    """Find the temperature between 0.2 and 5 with the smallest log loss.

    All classes that occur have equal weight, as in the fit.

    Args:
        p: (N, K) probabilities for items that were not used in training.
        truth: (N,) int64, true classes.
    """
    from scipy.optimize import minimize_scalar

    if len(truth) == 0:
        return 1.0
    rows = np.arange(len(truth))
    weight = 1 / np.bincount(truth, minlength=p.shape[1])[truth]

    def loss(log_t: float) -> float:
        losses = -np.log(np.maximum(tempered(p, float(np.exp(log_t)))[rows, truth], 1e-12))
        return float((weight * losses).sum() / weight.sum())

    found = minimize_scalar(loss, bounds=(np.log(0.2), np.log(5.0)), method="bounded", options={"xatol": 1e-4})
    return float(np.exp(found.x))


def fit_threshold(
    p: np.ndarray,
    truth: np.ndarray,
    ordinary: int,
    *,
    bystander: np.ndarray | None = None,
    accuracy: float = 0.93,
    false: float = 0.15,
) -> float:
    """Find the smallest threshold at which stated causes are correct often enough.

    Args:
        p: (N, K) calibrated probabilities for items that were not used in training.
        truth: (N,) int64, true classes.
        ordinary: Class of errors without a known cause, which is never stated.
        bystander: (N,) bool, errors with a planted change that does not cause them. They count as ordinary errors. They
            do not count for the accuracy, since their share among natural errors is unknown.
        accuracy: Required share of stated causes that are correct.
        false: Largest accepted share of ordinary errors for which a cause is stated.

    Returns:
        Threshold between 0.5 and 0.99; 0.99 if no threshold is high enough.
    """
    best = p.argmax(1)
    top = p[np.arange(len(p)), best]
    is_ordinary = truth == ordinary
    beside = np.zeros(len(p), dtype=bool) if bystander is None else bystander
    for threshold in np.arange(0.5, 0.99, 0.01):
        stated = (best != ordinary) & (top >= threshold)
        right = (best == truth)[stated & ~beside]
        wrong_share = stated[is_ordinary].mean() if is_ordinary.any() else 0.0
        if len(right) >= 10 and right.mean() >= accuracy and wrong_share <= false:
            return round(float(threshold), 2)
    return 0.99


def conformal_levels(p: np.ndarray, truth: np.ndarray, coverage: float = 0.9) -> np.ndarray:
    """Compute the largest score at which each class belongs to a prediction set.

    The score is ``1 - p``.

    Source: class-conditional split conformal prediction, Vovk 2012, arXiv 1209.2673.

    Args:
        p: (N, K) probabilities for items that were not used in training.
        truth: (N,) int64, true classes.
        coverage: Smallest probability, for each class, that the set contains the true class.

    Returns:
        (K,) float64; 1 for classes with too few items, which then belong to every set.
    """
    levels = np.ones(p.shape[1])
    for k in range(p.shape[1]):
        scores = np.sort(1 - p[truth == k, k])
        rank = int(np.ceil((len(scores) + 1) * coverage))
        if 0 < rank <= len(scores):
            levels[k] = scores[rank - 1]
    return levels


def prediction_sets(p: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Return which classes belong to each prediction set.

    Returns:
        (N, K) bool; at least one class per item.
    """
    found = 1 - p <= levels + 1e-12
    empty = ~found.any(1)
    found[empty, p[empty].argmax(1)] = True
    return found


def estimate_prior(p: np.ndarray, rounds: int = 200) -> np.ndarray:
    """Estimate the class shares of a set of errors with expectation maximisation.

    Source: Saerens, Latinne and Decaestecker 2002, "Adjusting the outputs of a classifier to new a priori
    probabilities", Neural Computation 14. The pseudo-counts (a Dirichlet prior) are ours.

    Args:
        p: (N, K) calibrated probabilities of a classifier trained with equal class shares.
        rounds: Largest number of iterations.

    Returns:
        (K,) class shares that sum to 1, halfway between the estimate and equal shares; equal shares for fewer than 50
        errors. On held-out nets, the full estimate gave `ordinary` half of all errors instead of a third.
    """
    count = p.shape[1]
    prior = np.full(count, 1 / count)
    if len(p) < LEAST_FOR_PRIOR:
        return prior
    for _ in range(rounds):
        counts = with_prior(p, prior).sum(0) + PSEUDO_COUNT
        last, prior = prior, counts / counts.sum()
        if np.abs(prior - last).max() < 1e-6:
            break
    return (prior + 1 / count) / 2


def with_prior(p: np.ndarray, prior: np.ndarray) -> np.ndarray:
    """Convert probabilities (N, K) for equal class shares to those for ``prior``."""
    weighted = p * prior
    return weighted / weighted.sum(1, keepdims=True)


def indices(names: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    """Return the index of each name in the list of classes, (N,) int64."""
    place = {name: i for i, name in enumerate(classes)}
    return np.array([place[name] for name in names], dtype=np.int64)
