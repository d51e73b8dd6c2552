"""Signs from the correctly classified images nearest to an error in feature space.

Features are divided by their norm before distances are taken, as in Mahalanobis++ (arXiv 2505.18032), which keeps
distances comparable between models. Images of the error's own source are never its neighbours.
"""

from __future__ import annotations

import numpy as np

from whywrong.verdicts.controls import logit_scale
from whywrong.verdicts.measured import Measured

NEIGHBOUR_SIGNS: tuple[str, ...] = (
    "feature_norm",
    "feature_distance",
    "feature_share_label",
    "feature_share_predicted",
    "feature_log_ratio",
    "head_cosine",
    "head_rank",
    "pair_closeness",
    "pair_rank",
)
_BLOCK = 512


def neighbour_signs(items: Measured, reference: Measured) -> np.ndarray:
    """Compute the signs named in :data:`NEIGHBOUR_SIGNS`.

    They are the norm of the features, the mean distance to the 5 nearest correct images, the share of ``label`` and of
    ``predicted`` among the 10 nearest, the log ratio of the mean distances to the nearest three of ``label`` and of
    ``predicted``, the cosine of the two classes' head vectors with its rank among the other classes of ``label``, and
    over correct images of ``label`` the mean logit difference of both classes with the mean rank of ``predicted``.

    Args:
        items: Errors, or the reference itself.
        reference: Correctly classified images.

    Returns:
        (N, 9) float32; NaN where the access does not allow it or no image of the class is left.
    """
    n = len(items)
    found = np.full((n, len(NEIGHBOUR_SIGNS)), np.nan)
    if n == 0 or len(reference) == 0:
        return found.astype(np.float32)
    own = _same_source(items, reference)
    if items.features.shape[1] and items.features.shape[1] == reference.features.shape[1]:
        found[:, 0] = np.linalg.norm(items.features.astype(np.float64), axis=1)
        for start in range(0, n, _BLOCK):
            rows = slice(start, start + _BLOCK)
            found[rows, 1:5] = _distances(items, reference, own, rows)
    if items.logits.shape[1] and items.logits.shape[1] == reference.logits.shape[1]:
        if items.features.shape[1] and items.features.shape[1] == reference.features.shape[1]:
            found[:, 5:7] = _head(items, reference)
        found[:, 7:9] = _pairs(items, reference, own)
    return found.astype(np.float32)


def _same_source(items: Measured, reference: Measured) -> np.ndarray:
    """Return whether an item and a reference image come from the same source, (N, R) bool."""
    number = {source: i for i, source in enumerate(dict.fromkeys((*items.sources, *reference.sources)))}
    left = np.array([number[source] for source in items.sources])
    right = np.array([number[source] for source in reference.sources])
    return left[:, None] == right[None, :]


def _unit(features: np.ndarray) -> np.ndarray:
    features = features.astype(np.float64)
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def _nearest(distance: np.ndarray, k: int) -> np.ndarray:
    """Return the mean of the k smallest finite distances of each row, NaN without any."""
    k = min(k, distance.shape[1])
    near = np.sort(distance, axis=1)[:, :k]
    there = np.isfinite(near)
    count = there.sum(1)
    total = np.where(there, near, 0).sum(1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _distances(items: Measured, reference: Measured, own: np.ndarray, rows: slice) -> np.ndarray:
    """Return mean distance, share of label, share of predicted, and log ratio, (B, 4)."""
    cosine = _unit(items.features[rows]) @ _unit(reference.features).T
    distance = np.sqrt(np.maximum(2 - 2 * cosine, 0))
    distance[own[rows]] = np.inf
    k = min(10, distance.shape[1])
    order = np.argsort(distance, axis=1, kind="stable")[:, :k]
    near, known = reference.predicted[order], np.isfinite(np.take_along_axis(distance, order, 1))
    count = np.maximum(known.sum(1), 1)
    shares, means = [], []
    for wanted in (items.label[rows], items.predicted[rows]):
        shares.append(((near == wanted[:, None]) & known).sum(1) / count)
        of_class = reference.predicted[None, :] == wanted[:, None]
        means.append(_nearest(np.where(of_class, distance, np.inf), 3))
    ratio = np.log(np.maximum(means[0], 1e-6)) - np.log(np.maximum(means[1], 1e-6))
    return np.stack([_nearest(distance, 5), *shares, ratio], axis=1)


def _head(items: Measured, reference: Measured) -> np.ndarray:
    """Return the cosine of the head vectors of both classes, and its rank, (N, 2).

    The logits are linear in the features, so that the head vectors follow from both on the reference, as far as the
    reference spans the feature space; the smallest solution is taken.
    """
    features = reference.features.astype(np.float64)
    features = features - features.mean(0)
    logits = reference.logits.astype(np.float64)
    logits = logits - logits.mean(0)
    weights, *_ = np.linalg.lstsq(features, logits, rcond=1e-6)
    weights = weights - weights.mean(1, keepdims=True)  # adding one vector to all classes changes no prediction
    weights = (weights / np.maximum(np.linalg.norm(weights, axis=0), 1e-12)).T
    at_label = weights[items.label]
    cosine = (at_label * weights[items.predicted]).sum(1)
    closer = (at_label @ weights.T > cosine[:, None] + 1e-9).sum(1) - 1  # not counting the label itself
    return np.stack([cosine, np.maximum(closer, 0) / max(len(weights) - 2, 1)], axis=1)


def _pairs(items: Measured, reference: Measured, own: np.ndarray) -> np.ndarray:
    """Return the mean logit difference over correct images of the label, and the mean rank there, (N, 2).

    Of a model with two classes, all errors with one prediction are the same pair, so that these say nothing of one.
    """
    logits = reference.logits.astype(np.float64) / logit_scale(reference)
    of_label = (reference.predicted[None, :] == items.label[:, None]) & ~own
    count = of_label.sum(1)
    found = np.full((len(items), 2), np.nan)
    classes = logits.shape[1]
    for row in np.flatnonzero(count if classes > 2 else np.zeros_like(count)):
        some = logits[of_label[row]]
        at = some[:, items.predicted[row]]
        found[row, 0] = np.mean(some[:, items.label[row]] - at)
        found[row, 1] = np.mean((some > at[:, None]).sum(1)) / (classes - 1)
    return found
