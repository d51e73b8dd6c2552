"""Class probabilities from completed evidence, the mean of a logistic regression and a forest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from whywrong.verdicts.combiner.forest import Forest

UNTRAINED = -1e9  # intercept of a class that did not train


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Scorer:
    """A fitted mean of a multinomial logistic regression and a forest.

    Attributes:
        mean: (F,) float64, mean of each column.
        scale: (F,) float64, standard deviation of each column, never 0.
        coef: (K, F) float64, weights of the standardised columns.
        intercept: (K,) float64.
        forest: The forest.
    """

    mean: np.ndarray
    scale: np.ndarray
    coef: np.ndarray
    intercept: np.ndarray
    forest: Forest

    @property
    def trained(self) -> np.ndarray:
        """Classes that trained, (C,) int64."""
        return np.flatnonzero(self.intercept > UNTRAINED)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return uncalibrated class probabilities (N, K) float64.

        Args:
            x: (N, F) float32, finite.
        """
        return (self.logistic(x) + self.forest.predict(x)) / 2

    def logistic(self, x: np.ndarray) -> np.ndarray:
        """Return the probabilities of the logistic regression alone, (N, K) float64."""
        # A sum for each row in a fixed order: a matrix product may depend on the number of rows.
        z = np.einsum("nf,kf->nk", self.standardised(x), self.coef) + self.intercept
        raised = np.exp(z - z.max(1, keepdims=True))
        return raised / raised.sum(1, keepdims=True)

    def standardised(self, x: np.ndarray) -> np.ndarray:
        """Return columns (N, F) float64 with mean 0 and standard deviation 1."""
        return (np.asarray(x, dtype=np.float64) - self.mean) / self.scale

    def check(self) -> str:
        """Return what is wrong with the arrays, empty if nothing is."""
        classes, columns = self.coef.shape
        if self.mean.shape != (columns,) or self.scale.shape != (columns,) or self.intercept.shape != (classes,):
            return "the arrays of the logistic regression do not fit together"
        numbers = (self.mean, self.scale, self.coef, self.intercept)
        if not all(np.isfinite(part).all() for part in numbers) or (self.scale <= 0).any():
            return "the logistic regression holds numbers that are not finite, or a scale that is not positive"
        return self.forest.check(columns, classes)
