"""Predictions of all items of a run as aligned arrays, from which groups are found without the model."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from whywrong.core.classes import ClassList


def _none(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Rows:
    """Predictions of N items with K classes, right and wrong, with a label and a prediction each.

    Optional arrays have no columns if they were not measured, and NaN in the rows of items without a value.

    Attributes:
        item_ids: Items of the run.
        sources: Identity of the photograph that each item comes from; equal for identical images.
        label: (N,) int64, class that the data gives.
        predicted: (N,) int64, predicted class.
        confidence: (N,) float64, probability of the prediction; NaN if the model returns answers only.
        true_confidence: (N,) float64, probability of the label.
        rank: (N,) int64, rank of the label among the classes, 1 for a correct prediction; 0 if unknown.
        classes: Classes of the model.
        features: (N, D) float32, input of the last layer.
        weights: (K, D) float32, weights of the last layer.
        pictures: (N, 3, S, S) uint8, the images that the model sees, reduced to S x S with S >= 16; (N, 0, 0, 0)
            without.
        sharpness: (N,) float32, any measure of the images that falls with blur, such as the logarithm of the variance
            of the Laplacian; NaN if unknown.
        object_box: (N, 4) float32, left, top, right, bottom of the labelled object as shares of the model's input;
            less than 0 or more than 1 outside the crop.
        input_evidence: (N, G, G) float32, evidence for the prediction over the model's input.
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
        """Keep the first row of each photograph."""
        seen: set[str] = set()
        return np.array(
            [row for row in rows.tolist() if not (self.sources[row] in seen or seen.add(self.sources[row]))], np.int64
        )


_OPTIONAL = ("features", "pictures", "sharpness", "object_box", "input_evidence")
