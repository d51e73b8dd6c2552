"""Result of the search for recurring marks."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Mark:
    """A mark that several errors with the same prediction share at the same place.

    Attributes:
        predicted: Class that all of them are predicted as.
        members: (M,) int64, rows of the errors; the medoid first, then by decreasing correlation with it.
        correlation: (M,) float32, correlation with the medoid at the place of the mark; 1 for the medoid itself.
        box: Left, top, right, bottom of the mark in the medoid, as shares of the image.
    """

    predicted: int
    members: np.ndarray
    correlation: np.ndarray
    box: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Recurrence:
    """How often the content of N errors comes back in other errors with the same prediction.

    Images of one source, and copies of one photograph, count as one and are not compared with each other.

    Attributes:
        count: (N,) int64, number of other sources with the same prediction whose content at one place correlates by
            more than 0.5; 0 unless it occurs significantly more often than in errors with other predictions.
        best: (N,) float32, largest correlation with another source with the same prediction at that place, or at the
            place nearest to significance; NaN if there is no other source.
        compared: (N,) int64, number of other sources with the same prediction that were compared.
        p: (N,) float32, P value of the number at the best place, corrected for the number of places.
        place: (N, 4) float32, left, top, right, bottom of the mark as shares of the image; NaN if ``count`` is 0.
        cluster: (N,) int64, index of the error's mark in ``marks``, or -1.
        marks: Marks, by decreasing number of members.
    """

    count: np.ndarray
    best: np.ndarray
    compared: np.ndarray
    p: np.ndarray
    place: np.ndarray
    cluster: np.ndarray
    marks: tuple[Mark, ...]

    def with_marks(self, marks: tuple[Mark, ...]) -> Recurrence:
        """Return the same counts with these marks."""
        return replace(self, marks=marks)
