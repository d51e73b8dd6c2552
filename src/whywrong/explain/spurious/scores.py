"""Areas under the precision-recall and ROC curves, which measure how well a score separates two groups."""

from __future__ import annotations

import numpy as np


def average_precision(positive: np.ndarray, negative: np.ndarray) -> float:
    """Compute the area under the precision-recall curve as a sum of steps.

    Equal scores are grouped.

    The published code of the spurious score computes the same.

    Args:
        positive: (P,), scores of the images that should score high.
        negative: (N,), scores of those that should not.

    Returns:
        In (0, 1]; NaN if one of the groups is empty.
    """
    if not len(positive) or not len(negative):
        return float("nan")
    scores = np.concatenate([positive, negative])
    hit = np.concatenate([np.ones(len(positive)), np.zeros(len(negative))])
    order = np.argsort(-scores, kind="stable")
    scores, hit = scores[order], np.cumsum(hit[order])
    last = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)  # the last of each run of equal scores
    hits = hit[last]
    return float(np.sum(np.diff(hits, prepend=0) * hits / (last + 1)) / len(positive))


def roc_area(positive: np.ndarray, negative: np.ndarray) -> float:
    """Compute the probability that a positive image scores higher than a negative one.

    Ties count half; NaN for an empty group.
    """
    if not len(positive) or not len(negative):
        return float("nan")
    ordered = np.sort(negative)
    below, upto = np.searchsorted(ordered, positive, "left"), np.searchsorted(ordered, positive, "right")
    return float((below + upto).sum() / (2 * len(positive) * len(negative)))
