"""Errors of the training set, used to recognise unseen causes and to name the kind of a cause."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_NEAREST = 10
_BLOCK = 1024


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Plants:
    """Standardised evidence of P errors of the training set.

    Attributes:
        z: (P, F) float16, standardised columns.
        cause: (P,) int16, class.
        kind: (P,) kind of the cause.
    """

    z: np.ndarray
    cause: np.ndarray
    kind: np.ndarray

    def distances(self, z: np.ndarray, there: np.ndarray) -> np.ndarray:
        """Compute root mean square differences over the measured columns.

        Args:
            z: (N, F), standardised columns.
            there: (N, F) bool, whether a value was measured.

            Returns:
                Differences (N, P) float64 from each plant.
        """
        own = self.z.astype(np.float64)
        found = np.empty((len(z), len(own)))
        for start in range(0, len(z), _BLOCK):
            rows = slice(start, start + _BLOCK)
            mask = there[rows].astype(np.float64)
            part = np.where(there[rows], z[rows], 0.0)
            squares = np.square(part).sum(1)[:, None] - 2 * part @ own.T + mask @ np.square(own).T
            found[rows] = squares / np.maximum(mask.sum(1), 1)[:, None]
        return np.sqrt(np.maximum(found, 0))

    def unseen_limit(self, allowed: np.ndarray, quantile: float = 0.99) -> float:
        """Compute a quantile of the distances between plants of different causes.

        If an error is farther than this from all plants, its cause is probably not among theirs.

        Args:
            allowed: (F,) bool, columns to compare.
            quantile: Share of the plants within the limit.
        """
        distance = self.distances(self.z.astype(np.float64), np.tile(allowed, (len(self.z), 1)))
        distance[self.cause[:, None] == self.cause[None, :]] = np.inf
        nearest = distance.min(1)
        nearest = nearest[np.isfinite(nearest)]
        return float(np.quantile(nearest, quantile)) if len(nearest) else float("inf")

    def kinds(self, distance: np.ndarray, cause: np.ndarray) -> tuple[str, ...]:
        """Return the most frequent kind among the ten nearest plants of a cause.

        Args:
            distance: (N, P), see :meth:`distances`.
            cause: (N,) int64, the cause of each error.

        Returns:
            N kinds; empty strings for causes without plants.
        """
        found = []
        for row, wanted in enumerate(cause):
            some = np.flatnonzero(self.cause == wanted)
            near = some[np.argsort(distance[row, some], kind="stable")[:_NEAREST]]
            names, first, count = np.unique(self.kind[near], return_index=True, return_counts=True)
            # Of equally frequent kinds, the nearest one.
            found.append(str(names[np.lexsort((first, -count))[0]]) if len(near) else "")
        return tuple(found)

    def check(self, columns: int, classes: int) -> str:
        """Return a message on invalid arrays, or an empty string."""
        p = len(self.z)
        if self.z.shape != (p, columns) or self.cause.shape != (p,) or self.kind.shape != (p,):
            return "the arrays of the plants do not fit together"
        if not np.isfinite(self.z).all() or (p and (self.cause.min() < 0 or self.cause.max() >= classes)):
            return "the plants hold numbers that are not finite, or classes that do not exist"
        return ""
