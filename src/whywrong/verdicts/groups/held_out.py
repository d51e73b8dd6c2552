"""Clusters that are found on one half of the photographs and tested on the other half."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_RADIUS = (
    1.1  # times the largest distance of a member: others lie a little farther from a centre that they did not make
)
_PERMUTATIONS = 200
_OPTIONS: dict[str, Any] = {"copy": True}  # its type is declared as text, with which the default warns


@dataclass(frozen=True, slots=True, eq=False)
class Cluster:
    """A cluster of errors.

    Attributes:
        members: (M,) int64 rows of both halves, nearest to the centre first.
        p: P value of the number of held-out members.
        cohesion: 1 minus the ratio of the mean squared distance from the centre to that of all errors.
    """

    members: np.ndarray
    p: float
    cohesion: float


def half_of(sources: Sequence[str]) -> np.ndarray:
    """Return the half of each photograph (N,) bool, from a hash of its name."""
    digests = (hashlib.blake2b(source.encode(), digest_size=1).digest() for source in sources)
    return np.array([digest[0] < 128 for digest in digests], bool)


def checked_clusters(x: np.ndarray, sources: Sequence[str], smallest: int, seed: int = 0) -> list[Cluster]:
    """Cluster half of the photographs with HDBSCAN, and test on the other half.

    A held-out error joins the nearest centre if its distance is at most 1.1 times the radius of the cluster. The number
    of held-out members is compared with 200 permutations of each column among the held-out errors. Permutations keep
    the distribution of each column and remove the similarity of errors. A cluster without held-out members has P value
    1. (ours)

    Args:
        x: (N, F) descriptors.
        sources: Names of the photographs of the N errors.
        smallest: Smallest size of a cluster in both halves; one half needs half of it, and at least 3.
        seed: Seed of the permutations.
    """
    from sklearn.cluster import HDBSCAN

    first = half_of(sources)
    ours, theirs = x[first], x[~first]
    least = max(3, smallest // 2)
    if len(ours) < 2 * least or not len(theirs):
        return []
    labels = HDBSCAN(min_cluster_size=least, **_OPTIONS).fit(ours).labels_
    numbers = [int(one) for one in np.unique(labels) if one >= 0]
    if not numbers:
        return []
    centres = np.stack([ours[labels == one].mean(0) for one in numbers])
    own = np.linalg.norm(ours - centres[np.maximum(labels, 0)], axis=1)
    radii = np.array([_RADIUS * own[labels == one].max() for one in numbers])
    joined = _nearest_within(theirs, centres, radii)
    # Errors of the first half that HDBSCAN left alone join as well.
    labels = np.where(labels >= 0, labels, np.array([*numbers, -1])[_nearest_within(ours, centres, radii)])
    observed = np.array([(joined == index).sum() for index in range(len(numbers))])
    null = _null(theirs, centres, radii, seed)
    p = np.where(observed > 0, (1 + (null >= observed).sum(0)) / (1 + len(null)), 1.0)
    total = float(np.square(x - x.mean(0)).sum(1).mean())
    rows = np.arange(len(x))
    found = []
    for index, number in enumerate(numbers):
        members = np.concatenate([rows[first][labels == number], rows[~first][joined == index]])
        distance = np.square(x[members] - centres[index]).sum(1)
        cohesion = 1 - float(distance.mean()) / max(total, 1e-12)
        found.append(Cluster(members[np.argsort(distance, kind="stable")], float(p[index]), cohesion))
    return found


def _nearest_within(x: np.ndarray, centres: np.ndarray, radii: np.ndarray) -> np.ndarray:
    """Return the nearest centre of each row (N,), -1 if the row lies outside its radius."""
    distance = np.sqrt(np.maximum(np.square(x).sum(1)[:, None] - 2 * x @ centres.T + np.square(centres).sum(1), 0))
    nearest = distance.argmin(1)
    return np.where(distance[np.arange(len(x)), nearest] <= radii[nearest], nearest, -1)


def _null(x: np.ndarray, centres: np.ndarray, radii: np.ndarray, seed: int) -> np.ndarray:
    """Return the numbers of members (200, C) after permutations of each column."""
    random = np.random.default_rng(seed)
    counts = np.empty((_PERMUTATIONS, len(centres)), np.int64)
    for draw in range(_PERMUTATIONS):
        joined = _nearest_within(random.permuted(x, axis=0), centres, radii)
        counts[draw] = np.bincount(joined[joined >= 0], minlength=len(centres))
    return counts
