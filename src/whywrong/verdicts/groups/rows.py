"""Predictions of all items of a run as aligned arrays, for groups that need no model."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from whywrong.core.classes import ClassList


def _none(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Rows:
    """Predictions of N labelled items with K classes, both correct and wrong ones.

    Optional arrays have no columns if they were not measured, and NaN in rows without a value.

    Attributes:
        item_ids: Item ids.
        sources: Name of the photograph of each item; equal for identical images.
        label: (N,) int64, label.
        predicted: (N,) int64, predicted class.
        confidence: (N,) float64, probability of the prediction; NaN if the model returns labels only.
        true_confidence: (N,) float64, probability of the label.
        rank: (N,) int64, rank of the label among the classes, 1 for a correct prediction; 0 if unknown.
        classes: Names of the classes.
        features: (N, D) float32, input of the last layer.
        weights: (K, D) float32, weights of the last layer.
        pictures: (N, 3, S, S) uint8, model inputs reduced to S x S with S >= 16; (N, 0, 0, 0) if unknown.
        sharpness: (N,) float32, a measure that decreases with blur, such as the logarithm of the variance of the
            Laplacian; NaN if unknown.
        object_box: (N, 4) float32, left, top, right, bottom of the labelled object as shares of the model input; below
            0 or above 1 outside the crop.
        input_evidence: (N, G, G) float32, map of the evidence for the prediction.
    """

    item_ids: tuple[str, ...]
    sources: tuple[str, ...]
    label: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray
    true_confidence: np.ndarray
    rank: np.ndarray
    classes: ClassList
    features: np.ndarray = field(default_factory=lambda: _none(0, 0))
    weights: np.ndarray = field(default_factory=lambda: _none(0, 0))
    pictures: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 0, 0), np.uint8))
    sharpness: np.ndarray = field(default_factory=lambda: _none(0))
    object_box: np.ndarray = field(default_factory=lambda: _none(0, 4))
    input_evidence: np.ndarray = field(default_factory=lambda: _none(0, 0, 0))

    def __post_init__(self) -> None:
        for name in ("sources", "label", "predicted", "confidence", "true_confidence", "rank"):
            if len(getattr(self, name)) != len(self):
                raise ValueError(f"{name} has {len(getattr(self, name))} rows, expected {len(self)}")
        for name in _OPTIONAL:
            if len(getattr(self, name)) not in (0, len(self)):
                raise ValueError(f"{name} has {len(getattr(self, name))} rows, expected 0 or {len(self)}")

    def __len__(self) -> int:
        return len(self.item_ids)

    @property
    def wrong(self) -> np.ndarray:
        """(E,) int64, rows of the errors."""
        return (self.label != self.predicted).nonzero()[0]

    @property
    def right(self) -> np.ndarray:
        """(C,) int64, rows of the correct images."""
        return (self.label == self.predicted).nonzero()[0]

    def known(self, name: str) -> np.ndarray:
        """(N,) bool, items that have a value of an optional array."""
        value = getattr(self, name)
        if len(value) != len(self) or not value.size:
            return np.zeros(len(self), bool)
        if value.dtype == np.uint8:
            return np.ones(len(self), bool)
        return np.isfinite(value).reshape(len(self), -1).all(1)

    def name(self, index: int) -> str:
        """Return the first name of a class."""
        return self.classes.names[index].split(",")[0].strip()

    def first_of_source(self, rows: np.ndarray) -> np.ndarray:
        """Return the first row of each photograph."""
        seen: set[str] = set()
        return np.array(
            [row for row in rows.tolist() if not (self.sources[row] in seen or seen.add(self.sources[row]))], np.int64
        )


_OPTIONAL = ("features", "pictures", "sharpness", "object_box", "input_evidence")
