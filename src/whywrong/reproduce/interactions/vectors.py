"""Test whether groups of images differ in their profiles, over all orders at once.

Source: Anderson 2001, "A new method for non-parametric multivariate analysis of variance" (permutation of the share of
squared distances between groups).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from whywrong.core.errors import InputError
from whywrong.core.statistics import Resampled
from whywrong.reproduce.interactions.compare_groups import Effect
from whywrong.reproduce.interactions.features import Features


def shape_vectors(features: Features, statistic: str, value: int) -> np.ndarray:
    """Return a profile (G, R) of each image.

    Args:
        features: Features of a group.
        statistic: ``A``, ``M``, ``pos_share``, or ``J`` for A through its mean over the orders.
        value: Index of the value function, 0 for the true class, 1 for the class t.

    Raises:
        InputError: The statistic is unknown.
    """
    if statistic in ("A", "M"):
        return getattr(features, statistic)[:, :, value]
    if statistic == "J":
        A = features.A[:, :, value]
        level = A.mean(1, keepdims=True)
        return np.divide(A, level, out=np.full_like(A, np.nan), where=level > 0)
    if statistic == "pos_share":
        pos, neg = features.pos[:, :, value], features.neg[:, :, value]
        return np.divide(pos, pos + neg, out=np.full_like(pos, 0.5), where=pos + neg > 0)
    raise InputError(f"profiles are compared by A, J, M or pos_share, got {statistic!r}")


def vectors_differ(groups: Sequence[np.ndarray], *, draws: int = 2000, seed: int = 0) -> Effect:
    """Test whether groups explain more variance of vectors than chance would.

    Every order has equal weight: it is divided by its standard deviation over all images. Images without a profile
    (NaN) are excluded. The share is adjusted, so that chance explains 0 on average; p comes from permutations of the
    images.

    Args:
        groups: Two or more of (G, R).
        draws: Permutations, and resamples of the images within their groups for the interval.
        seed: Seed of all draws.

    Raises:
        InputError: Fewer than two groups, or a group of fewer than two images with a profile.
    """
    kept = [vectors[np.isfinite(vectors).all(1)] for vectors in groups]
    if len(kept) < 2 or min(map(len, kept)) < 2:
        raise InputError(f"profiles are compared between groups of at least 2 images, got {[len(v) for v in kept]}")
    pooled = np.concatenate(kept)
    spread = pooled.std(0)
    pooled = (pooled - pooled.mean(0)) / np.where(spread > 0, spread, 1.0)
    sizes = np.array([len(vectors) for vectors in kept])
    label = np.repeat(np.arange(len(sizes)), sizes)
    rng = np.random.default_rng(seed)
    observed = _explained(pooled, label[None], sizes)[0]
    dealt = np.stack([label[rng.permutation(len(label))] for _ in range(draws)])
    chance = _explained(pooled, dealt, sizes)
    p = (1 + int((chance >= observed - 1e-12).sum())) / (1 + draws)
    starts = np.concatenate([[0], sizes[:-1].cumsum()])
    again = [
        _explained(
            pooled[
                np.concatenate([start + rng.integers(0, size, size) for start, size in zip(starts, sizes, strict=True)])
            ],
            label[None],
            sizes,
        )[0]
        for _ in range(draws)
    ]
    fewer = sizes - np.eye(len(sizes), dtype=int)  # sizes without an image of each group
    left_out = [
        _explained(np.delete(pooled, row, 0), np.delete(label, row)[None], fewer[group])
        for row, group in enumerate(label)
    ]
    found = Resampled(np.array([observed]), np.array(again)[:, None], np.array(left_out), int(sizes.min()))
    low, high = (float(end[0]) for end in found.interval())
    return Effect(float(observed), low, high, p, p)


def _explained(pooled: np.ndarray, labels: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Compute the share of squared distances that lies between groups.

    The share (D,) is adjusted for chance; the distances are from the mean, and the labels (D, N).
    """
    n, k = len(pooled), len(sizes)
    centred = pooled - pooled.mean(0)
    total = np.square(centred).sum()
    if total == 0:
        return np.zeros(len(labels))
    between = sum(
        np.square((labels == group).astype(np.float64) @ centred / sizes[group]).sum(1) * sizes[group]
        for group in range(k)
    )
    return 1 - (1 - between / total) * (n - 1) / (n - k)
