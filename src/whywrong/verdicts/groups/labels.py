"""Errors whose label may be wrong, and errors whose label was a close runner-up."""

from __future__ import annotations

import numpy as np

from whywrong.verdicts.groups.group import Group, Words
from whywrong.verdicts.groups.rows import Rows

_NEIGHBOURS = 10
_VOTES = 0.8  # least share of the neighbours with the predicted class
_OWN_VOTES = 0.1  # largest share with the label
_CLOSE = 0.05  # largest difference of the two probabilities of a close call
_PRIOR = 5  # items
_LEVEL = 0.01
_FEWEST = 2

_SUSPECT = Words(
    kind="label_suspect", cause="label", action="Check the labels of these images, starting with the first ones."
)
_AMBIGUOUS = Words(
    kind="ambiguous",
    cause="confusion",
    action="Abstain if the two largest probabilities are close, or collect more images of these classes.",
)


def label_suspects(rows: Rows) -> list[Group]:
    """Find errors with a suspect label by confident learning and neighbours.

    A label is suspect under three conditions. The confidence of the prediction is at least the median over correct
    images of the predicted class. The probability of the label is less than a tenth of the mean self-confidence of its
    class. If features are known, at least 8 of the 10 nearest correct images have the predicted class and at most one
    has the label. The median replaces the mean, which flags a third of all errors of an overconfident network.
    (Northcutt et al. 2021, "Confident Learning"; median and neighbours are ours)

    Returns:
        One group, the most suspect first, or an empty list. The list is also empty if the accuracy is not above chance.
    """
    wrong, k = rows.wrong, len(rows.classes)
    if not len(wrong) or not np.isfinite(rows.confidence).all() or not _better_than_chance(rows):
        return []
    n = np.bincount(rows.label, minlength=k)
    own = np.bincount(rows.label, weights=rows.true_confidence, minlength=k)
    # With few items of a class, its mean is drawn towards that of all items.
    usual = (own + _PRIOR * rows.true_confidence.mean()) / (n + _PRIOR)
    sure = rows.confidence[wrong] >= _median_confidence(rows)[rows.predicted[wrong]]
    unlikely = rows.true_confidence[wrong] <= 0.1 * usual[rows.label[wrong]]
    votes, own_votes = _neighbour_votes(rows, wrong)
    agree = np.isnan(votes) | ((votes >= _VOTES) & (own_votes <= _OWN_VOTES))
    suspect = wrong[sure & unlikely & agree]
    if not len(suspect):
        return []
    order = np.argsort(rows.true_confidence[suspect] - rows.confidence[suspect], kind="stable")
    with_neighbours = np.isfinite(votes).any()
    return [
        _SUSPECT.group(
            rows,
            suspect[order],
            "suspect labels",
            "{count} have a suspect label: the model is as confident as on correct images of the predicted class"
            + (", and the most similar correct images are of that class." if with_neighbours else "."),
        )
    ]


def close_calls(rows: Rows) -> list[Group]:
    """Find errors whose label is the runner-up, at most 5 percentage points behind.

    Returns:
        One group of at least two errors, the closest first, or an empty list. The list is also empty if the accuracy is
        not above chance.
    """
    wrong = rows.wrong
    difference = rows.confidence[wrong] - rows.true_confidence[wrong]
    close = (rows.rank[wrong] == 2) & (difference <= _CLOSE)
    members = wrong[close]
    if len(members) < _FEWEST or len(rows.classes) < 3 or not _better_than_chance(rows):
        return []
    order = np.argsort(difference[close], kind="stable")
    return [
        _AMBIGUOUS.group(
            rows,
            members[order],
            "close calls",
            "{count} are close calls: the label is the runner-up, at most 5 percentage points below the prediction.",
        )
    ]


def _better_than_chance(rows: Rows) -> bool:
    """Return whether more items are right than predictions unrelated to the labels would make right."""
    from scipy.stats import binom

    k, n = len(rows.classes), len(rows)
    chance = float((np.bincount(rows.label, minlength=k) * np.bincount(rows.predicted, minlength=k)).sum() / n**2)
    return float(binom.sf(len(rows.right) - 1, n, min(chance, 1.0))) < _LEVEL


def _median_confidence(rows: Rows) -> np.ndarray:
    """Return the median confidence of the correct images of each class (K,), of all where there are fewer than five."""
    right = rows.right
    found = np.full(len(rows.classes), np.median(rows.confidence[right]))
    order = right[np.argsort(rows.label[right], kind="stable")]
    classes, starts = np.unique(rows.label[order], return_index=True)
    for index, part in zip(classes.tolist(), np.split(rows.confidence[order], starts[1:]), strict=True):
        if len(part) >= _PRIOR:
            found[index] = np.median(part)
    return found


def _neighbour_votes(rows: Rows, wrong: np.ndarray, tile: int = 512) -> tuple[np.ndarray, np.ndarray]:
    """Return the shares of the predicted class and of the label among the nearest correct images; NaN if unknown."""
    known = rows.known("features")
    right = rows.right[known[rows.right]]
    votes = np.full((2, len(wrong)), np.nan)
    if len(right) <= 2 * _NEIGHBOURS:
        return votes[0], votes[1]
    theirs = rows.features[right].astype(np.float32)
    theirs /= np.maximum(np.linalg.norm(theirs, axis=1, keepdims=True), 1e-12)
    sources = np.unique(np.array(rows.sources), return_inverse=True)[1].reshape(-1)
    at = known[wrong].nonzero()[0]
    for start in range(0, len(at), tile):
        part = at[start : start + tile]
        near = rows.features[wrong[part]].astype(np.float32) @ theirs.T
        near[sources[wrong[part]][:, None] == sources[right]] = -np.inf
        nearest = rows.label[right][np.argpartition(-near, _NEIGHBOURS, axis=1)[:, :_NEIGHBOURS]]
        votes[0, part] = (nearest == rows.predicted[wrong[part]][:, None]).mean(1)
        votes[1, part] = (nearest == rows.label[wrong[part]][:, None]).mean(1)
    return votes[0], votes[1]
