"""Families of classes, from the weights of the last layer or from class names."""

from __future__ import annotations

from collections import Counter

import numpy as np

from whywrong.verdicts.groups.rows import Rows

_CLASSES = 3000  # most classes that are clustered; bounds the memory
_SIZE = 6  # classes in a family, on average


def class_families(rows: Rows) -> np.ndarray:
    """Group the classes into families.

    If the weights of the last layer are known, families are clusters of weight vectors (average linkage of cosine
    distances, six classes per family on average). Otherwise, classes whose names end in the same word are a family.

    Returns:
        (K,) int64, family of each class, -1 for classes without a family.
    """
    family = np.full(len(rows.classes), -1)
    used = np.unique(np.concatenate([rows.label[rows.wrong], rows.predicted[rows.wrong]]))
    if len(rows.weights) and 4 <= len(used) <= _CLASSES:
        family[used] = _by_weights(rows.weights[used])
    elif rows.classes.named:
        family = _by_names([rows.name(index) for index in range(len(rows.classes))])
    return family


def _by_weights(weights: np.ndarray) -> np.ndarray:
    from scipy.cluster.hierarchy import fcluster, linkage

    centred = weights - weights.mean(0)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    tree = linkage(centred / np.maximum(length, 1e-12), "average")
    return fcluster(tree, max(2, round(len(weights) / _SIZE)), "maxclust").astype(np.int64) - 1


def _by_names(names: list[str]) -> np.ndarray:
    words = [name.lower().replace("_", " ").split() for name in names]
    last = [word[-1] if word else "" for word in words]
    shared = [word for word, times in Counter(last).items() if word and times >= 2 and not word.isdigit()]
    number = {word: index for index, word in enumerate(sorted(shared))}
    return np.array([number.get(word, -1) for word in last])
