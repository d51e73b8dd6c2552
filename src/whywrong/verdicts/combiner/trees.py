"""Decision trees as flat arrays, evaluated with NumPy alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

_ROWS = 4096  # rows times trees that are walked at once: memory stays below a few MB
_TREES = 64


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Trees:
    """Trees with one value per class in each leaf; the sum over trees is the output.

    The left child of a node is the next node; ``right`` is the distance to the right child, and 0 at a leaf.

    Attributes:
        roots: (T,) int32, index of the root of each tree.
        feature: (M,) int16, column that is compared with the threshold; unused at a leaf.
        threshold: (M,) float32; rows with ``x <= threshold`` go left.
        right: (M,) int32, distance to the right child.
        leaf: (M,) int32, row of ``values`` for a leaf.
        values: (L, K) float32; class shares in a forest, summands of logits in boosted trees.
    """

    roots: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    right: np.ndarray
    leaf: np.ndarray
    values: np.ndarray

    def total(self, x: np.ndarray) -> np.ndarray:
        """Sum the leaf values over all trees, (N, K) float64.

        Args:
            x: Evidence (N, F), finite.
        """
        x = np.asarray(x, dtype=np.float32)
        found = np.zeros((len(x), self.values.shape[1]))
        for start in range(0, len(x), _ROWS):
            part = x[start : start + _ROWS]
            for first in range(0, len(self.roots), _TREES):
                found[start : start + _ROWS] += self._walk(part, self.roots[first : first + _TREES])
        return found

    def _walk(self, x: np.ndarray, roots: np.ndarray) -> np.ndarray:
        """Return the values added over some trees, (B, K)."""
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
        return self.values[leaves].sum(0, dtype=np.float64)

    def check(self, columns: int, classes: int) -> str:
        """Return a message on invalid arrays, or an empty string."""
        m = len(self.feature)
        if not (len(self.threshold) == len(self.right) == len(self.leaf) == m) or m == 0 or len(self.roots) == 0:
            return "the arrays of the trees differ in length"
        if self.values.ndim != 2 or self.values.shape[1] != classes or len(self.values) == 0:
            return "the leaves have a wrong number of classes"
        if not np.isfinite(self.threshold).all() or not np.isfinite(self.values).all():
            return "the trees hold numbers that are not finite"
        if self.roots.min() < 0 or self.roots.max() >= m:
            return "a tree begins outside the arrays"
        inner = self.right > 0
        if self.right.min() < 0 or (np.flatnonzero(inner) + self.right[inner].astype(np.int64)).max(initial=0) >= m:
            return "a node leads outside the arrays"
        if inner[-1] or self.feature[inner].min(initial=0) < 0 or self.feature[inner].max(initial=0) >= columns:
            return "a node compares a column that does not exist"
        if self.leaf[~inner].min() < 0 or self.leaf[~inner].max() >= len(self.values):
            return "a leaf has no values"
        return ""


def export_forest(fitted: Any, classes: np.ndarray, count: int) -> Trees:
    """Convert a forest of scikit-learn to trees with class shares in the leaves.

    Thresholds are rounded down to float32; float32 rows then reach the same leaves.

    Args:
        fitted: ``ExtraTreesClassifier`` or ``RandomForestClassifier``.
        classes: (C,) int64, place of each class of ``fitted`` among all classes.
        count: Number of all classes.
    """
    parts = []
    for tree in (one.tree_ for one in fitted.estimators_):
        inner = tree.children_left >= 0
        shares = np.zeros((len(inner), count))
        values = tree.value[:, 0, :]
        shares[:, classes] = values / values.sum(1, keepdims=True)
        parts.append(_tree(inner, tree.children_left, tree.children_right, tree.feature, tree.threshold, shares))
    return _joined(parts)


def export_boosted(fitted: Any, classes: np.ndarray, count: int) -> Trees:
    """Convert boosted trees of scikit-learn to trees with logits in the leaves.

    Args:
        fitted: ``HistGradientBoostingClassifier`` of at least three classes, trained without missing values.
        classes: (C,) int64, place of each class of ``fitted`` among all classes.
        count: Number of all classes.
    """
    parts = []
    for by_class in fitted._predictors:
        for place, one in zip(classes, by_class, strict=True):
            nodes = one.nodes
            values = np.zeros((len(nodes), count))
            values[:, place] = nodes["value"]
            left, right = nodes["left"].astype(np.int64), nodes["right"].astype(np.int64)
            inner = nodes["is_leaf"] == 0
            parts.append(_tree(inner, left, right, nodes["feature_idx"], nodes["num_threshold"], values))
    return _joined(parts)


def _tree(
    inner: np.ndarray,
    left: np.ndarray,
    right: np.ndarray,
    feature: np.ndarray,
    threshold: np.ndarray,
    values: np.ndarray,
) -> dict[str, np.ndarray]:
    """Return the arrays of one tree, the values of its leaves in the order of its nodes."""
    # scikit-learn numbers nodes depth first, so that the left child follows its parent.
    if not (left[inner] == np.flatnonzero(inner) + 1).all():
        raise ValueError("the nodes of this scikit-learn are in another order")
    return {
        "feature": np.where(inner, feature, 0).astype(np.int16),
        "threshold": np.where(inner, _down(threshold), 0).astype(np.float32),
        "right": np.where(inner, right - np.arange(len(inner)), 0).astype(np.int32),
        "values": values[~inner].astype(np.float32),
    }


def _joined(parts: list[dict[str, np.ndarray]]) -> Trees:
    """Return all trees in one, with each different leaf stored once."""
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    values, place = np.unique(joined.pop("values"), axis=0, return_inverse=True)
    leaf = np.zeros(len(joined["right"]), np.int32)
    leaf[joined["right"] == 0] = place.ravel()
    lengths = np.cumsum([len(part["right"]) for part in parts])
    return Trees(roots=np.append(0, lengths[:-1]).astype(np.int32), leaf=leaf, values=values, **joined)


def _down(threshold: np.ndarray) -> np.ndarray:
    """Return the largest float32 numbers that are not above the thresholds."""
    near = threshold.astype(np.float32)
    return np.where(near > threshold, np.nextafter(near, np.float32(-np.inf)), near)
