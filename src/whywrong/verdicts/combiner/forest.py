"""Forests of decision trees as flat arrays, which need numpy alone to predict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

_ROWS = 4096  # rows times trees that are walked at once: memory stays below a few MB
_TREES = 64


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Forest:
    """A forest whose trees give class shares.

    The left child of a node follows it; ``right`` is the distance to the right child, and 0 at a leaf.

    Attributes:
        roots: (T,) int32, node at which each tree begins.
        feature: (M,) int16, column that is compared; at a leaf, nothing.
        threshold: (M,) float32; rows with ``x <= threshold`` go left.
        right: (M,) int32.
        leaf: (M,) int32, row of ``shares`` for a leaf.
        shares: (L, K) float32, class shares, which sum to 1.
    """

    roots: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    right: np.ndarray
    leaf: np.ndarray
    shares: np.ndarray

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return mean class shares over trees (N, K) float64.

        Args:
            x: (N, F), finite.
        """
        x = np.asarray(x, dtype=np.float32)
        found = np.zeros((len(x), self.shares.shape[1]))
        for start in range(0, len(x), _ROWS):
            part = x[start : start + _ROWS]
            for first in range(0, len(self.roots), _TREES):
                found[start : start + _ROWS] += self._walk(part, self.roots[first : first + _TREES])
        return found / len(self.roots)

    def _walk(self, x: np.ndarray, roots: np.ndarray) -> np.ndarray:
        """Return the sum of class shares over some trees, (B, K)."""
        node = np.repeat(roots.astype(np.int64)[:, None], len(x), axis=1)
        flat = node.ravel()
        row = np.tile(np.arange(len(x)), len(roots))
        active = np.flatnonzero(self.right[flat] > 0)
        while len(active):
            at = flat[active]
            left = x[row[active], self.feature[at]] <= self.threshold[at]
            flat[active] = at + np.where(left, 1, self.right[at])
            active = active[self.right[flat[active]] > 0]
        leaves = self.leaf[flat.reshape(len(roots), len(x))]
        return self.shares[leaves].sum(0, dtype=np.float64)

    def check(self, columns: int, classes: int) -> str:
        """Return what is wrong with the arrays, empty if nothing is."""
        m = len(self.feature)
        if not (len(self.threshold) == len(self.right) == len(self.leaf) == m) or m == 0 or len(self.roots) == 0:
            return "the arrays of the trees differ in length"
        if self.shares.ndim != 2 or self.shares.shape[1] != classes or len(self.shares) == 0:
            return "the leaves have a wrong number of classes"
        if not np.isfinite(self.threshold).all() or not np.isfinite(self.shares).all():
            return "the trees hold numbers that are not finite"
        if self.roots.min() < 0 or self.roots.max() >= m:
            return "a tree begins outside the arrays"
        inner = self.right > 0
        if self.right.min() < 0 or (np.flatnonzero(inner) + self.right[inner].astype(np.int64)).max(initial=0) >= m:
            return "a node leads outside the arrays"
        if inner[-1] or self.feature[inner].min(initial=0) < 0 or self.feature[inner].max(initial=0) >= columns:
            return "a node compares a column that does not exist"
        if self.leaf[~inner].min() < 0 or self.leaf[~inner].max() >= len(self.shares):
            return "a leaf has no class shares"
        return ""


def export(fitted: Any, classes: np.ndarray, count: int) -> Forest:
    """Convert a fitted forest of scikit-learn.

    Thresholds are rounded down to float32, which sends every float32 row the same way.

    Args:
        fitted: ``ExtraTreesClassifier`` or ``RandomForestClassifier``.
        classes: (C,) int64, place of each class of ``fitted`` among all classes.
        count: Number of all classes.
    """
    parts: dict[str, list[np.ndarray]] = {name: [] for name in ("feature", "threshold", "right", "leaf", "shares")}
    roots, nodes, leaves = [], 0, 0
    for tree in (one.tree_ for one in fitted.estimators_):
        inner = tree.children_left >= 0
        # scikit-learn numbers nodes depth first, so that the left child follows its parent.
        if not (tree.children_left[inner] == np.flatnonzero(inner) + 1).all():
            raise ValueError("the nodes of this scikit-learn are in another order")
        shares = np.zeros((int((~inner).sum()), count))
        values = tree.value[~inner, 0, :]
        shares[:, classes] = values / values.sum(1, keepdims=True)
        roots.append(nodes)
        parts["feature"].append(np.where(inner, tree.feature, 0).astype(np.int16))
        parts["threshold"].append(np.where(inner, _down(tree.threshold), 0).astype(np.float32))
        parts["right"].append(np.where(inner, tree.children_right - np.arange(len(inner)), 0).astype(np.int32))
        parts["leaf"].append(np.where(inner, 0, leaves + np.cumsum(~inner) - 1).astype(np.int32))
        parts["shares"].append(shares.astype(np.float32))
        nodes, leaves = nodes + len(inner), leaves + len(shares)
    joined = {name: np.concatenate(values) for name, values in parts.items()}
    shares, place = np.unique(joined.pop("shares"), axis=0, return_inverse=True)
    leaf = np.where(joined["right"] > 0, 0, place.ravel()[joined.pop("leaf")]).astype(np.int32)
    return Forest(roots=np.array(roots, np.int32), leaf=leaf, shares=shares, **joined)


def _down(threshold: np.ndarray) -> np.ndarray:
    """Return the largest float32 numbers that are not above the thresholds."""
    near = threshold.astype(np.float32)
    return np.where(near > threshold, np.nextafter(near, np.float32(-np.inf)), near)
