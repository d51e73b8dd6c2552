"""Features of each image of a group, from whose means the statistics of groups are computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Features of each image of a group, float64, for G images, R orders, V = 3 classes (true, target, difference).

    Attributes:
        A, M, pos, neg, positive, U: (G, R, V), as in :class:`whywrong.explain.interactions.profile.Profile`.
        raw: (G, R, V), mean square over pairs before noise is subtracted.
        disentanglement: (G, R, V), as in ``Profile``.
        A_se, M_se, U_se: (G, R, V), standard errors of sampling.
        full, empty: (G, V), value of the whole image and of the one in which every player is absent.
    """

    A: np.ndarray
    M: np.ndarray
    pos: np.ndarray
    neg: np.ndarray
    positive: np.ndarray
    U: np.ndarray
    raw: np.ndarray
    disentanglement: np.ndarray
    A_se: np.ndarray
    M_se: np.ndarray
    U_se: np.ndarray
    full: np.ndarray
    empty: np.ndarray

    @staticmethod
    def join(parts: Sequence[Features]) -> Features:
        """Concatenate the features of several batches of images."""
        return Features(**{e.name: np.concatenate([getattr(p, e.name) for p in parts]) for e in fields(Features)})

    def __len__(self) -> int:
        return len(self.A)

    def pick(self, rows: np.ndarray, slots: np.ndarray) -> Features:
        """Select rows (G,), each with its true class and the class in its slot (G,).

        Here V is 1 + 2 T.
        """
        columns = np.stack([np.zeros_like(slots), 1 + 2 * slots, 2 + 2 * slots], 1)  # (G, 3)
        picked: dict[str, np.ndarray] = {}
        for entry in fields(self):
            values = getattr(self, entry.name)[rows]
            index = columns if values.ndim == 2 else columns[:, None]
            picked[entry.name] = np.take_along_axis(values, index, -1)
        return Features(**picked)
