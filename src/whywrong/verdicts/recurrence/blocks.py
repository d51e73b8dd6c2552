"""Errors with one prediction, and their correlations at one place."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

ALIKE = 0.5  # correlation above which two windows are alike
SAME = 0.8  # correlation above which two windows show the same version of a mark
_COMPARED = 1500  # most other images with the same prediction that an error is compared with; bounds the cost


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Errors with one prediction.

    Attributes:
        predicted: Class.
        rows: (n,) int64, rows of the errors in the whole.
        photograph: (n,) int64, number of the photograph of each error.
        chosen: (m,) int64, errors of the block that all are compared with, ordered by photograph.
        starts: (k,) int64, where each photograph starts in ``chosen``.
    """

    predicted: int
    rows: np.ndarray
    photograph: np.ndarray
    chosen: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, predicted: int, rows: np.ndarray, photograph: np.ndarray, chosen: np.ndarray) -> Block:
        """Order the compared errors by photograph."""
        chosen = chosen[np.argsort(photograph[chosen], kind="stable")]
        return cls(predicted, rows, photograph, chosen, np.unique(photograph[chosen], return_index=True)[1])

    @property
    def others(self) -> np.ndarray:
        """(n,) int64, number of other photographs that each error is compared with."""
        return len(self.starts) - np.isin(self.photograph, self.photograph[self.chosen]).astype(np.int64)

    def by_photograph(self, correlation: np.ndarray) -> np.ndarray:
        """Reduce correlations (n, m) to the largest with each photograph (n, k), -1 with the own one."""
        if len(self.starts) < len(self.chosen):
            correlation = np.maximum.reduceat(correlation, self.starts, axis=1)
        compared = self.photograph[self.chosen][self.starts]
        return np.where(compared == self.photograph[:, None], np.float32(-1), correlation)


def choose_compared(sources: Sequence[str], most: int = _COMPARED) -> np.ndarray:
    """Choose at most ``most`` rows by a hash of their source, independent of the order of the rows."""
    if len(sources) <= most:
        return np.arange(len(sources))
    keys = [(hashlib.blake2b(source.encode(), digest_size=8).digest(), source) for source in sources]
    return np.sort(np.array(sorted(range(len(sources)), key=keys.__getitem__)[:most]))
