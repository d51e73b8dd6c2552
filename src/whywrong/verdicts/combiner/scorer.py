"""Class probabilities from a combination of logistic regression, forest and boosted trees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from whywrong.verdicts.combiner.trees import Trees

UNTRAINED = -1e9  # intercept of a class that did not train
_LEAST = 1e-6  # probability below which a model does not overrule the others
_WEIGHTS = (0.2, 0.4, 0.4)  # of the logistic regression, the forest, and the boosted trees in the mean


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Scorer:
    """The weighted geometric mean of a multinomial logistic regression, a forest, and boosted trees.

    Attributes:
        mean: (F,) float64, mean of each column.
        scale: (F,) float64, standard deviation of each column, never 0.
        coef: (K, F) float64, weights of standardised columns.
        intercept: (K,) float64.
        forest: Trees whose leaves hold class shares.
        boosted: Trees whose leaves hold summands of logits.
        start: (K,) float64, logits to which the boosted trees add.
    """

    mean: np.ndarray
    scale: np.ndarray
    coef: np.ndarray
    intercept: np.ndarray
    forest: Trees
    boosted: Trees
    start: np.ndarray

    @property
    def trained(self) -> np.ndarray:
        """Classes that occur in the training set, (C,) int64."""
        return np.flatnonzero(self.intercept > UNTRAINED)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Compute uncalibrated class probabilities (N, K) float64.

        Args:
            x: Evidence (N, F) float32, finite.
        """
        parts = (
            self.logistic(x),
            self.forest.total(x) / len(self.forest.roots),
            _softmax(self.start + self.boosted.total(x)),
        )
        mean = sum(w * np.log(np.maximum(part, _LEAST)) for w, part in zip(_WEIGHTS, parts, strict=True))
        return _softmax(np.where(self.intercept > UNTRAINED, mean, UNTRAINED))

    def logistic(self, x: np.ndarray) -> np.ndarray:
        """Compute the probabilities of the logistic regression alone, (N, K) float64."""
        # A sum for each row in a fixed order: a matrix product may depend on the number of rows.
        z = np.einsum("nf,kf->nk", self.standardised(x), self.coef) + self.intercept
        return _softmax(z)

    def standardised(self, x: np.ndarray) -> np.ndarray:
        """Standardise the columns with the stored means and deviations, (N, F) float64."""
        return (np.asarray(x, dtype=np.float64) - self.mean) / self.scale

    def check(self) -> str:
        """Return a message on invalid arrays, or an empty string."""
        classes, columns = self.coef.shape
        if self.mean.shape != (columns,) or self.scale.shape != (columns,) or self.intercept.shape != (classes,):
            return "the arrays of the logistic regression do not fit together"
        if self.start.shape != (classes,):
            return "the boosted trees have a wrong number of classes"
        numbers = (self.mean, self.scale, self.coef, self.intercept, self.start)
        if not all(np.isfinite(part).all() for part in numbers) or (self.scale <= 0).any():
            return "the combiner holds numbers that are not finite, or a scale that is not positive"
        return self.forest.check(columns, classes) or self.boosted.check(columns, classes)


def _softmax(z: np.ndarray) -> np.ndarray:
    raised = np.exp(z - z.max(1, keepdims=True))
    return raised / raised.sum(1, keepdims=True)
