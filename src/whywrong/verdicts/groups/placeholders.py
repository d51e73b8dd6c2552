"""Images without content, such as placeholders for missing photographs and blank images."""

from __future__ import annotations

import numpy as np

from whywrong.verdicts.groups.group import Group, Words
from whywrong.verdicts.groups.rows import Rows

_QUANTILE = 0.995  # of correct images' largest similarity to an image of another class
_FEWEST_RIGHT = 50  # correct images with features
_FEW_COLOURS = 0.05  # quantile of the number of colours in correct images
_BLANK = 2.0  # grey levels of standard deviation

_PLACEHOLDER = Words(
    kind="placeholder",
    cause="label",
    action="Remove these images, or replace them with the missing photographs.",
)


def placeholders(rows: Rows) -> list[Group]:
    """Find blank images, and plain images that recur under different labels.

    An error is a placeholder if it has fewer colours than 95 % of the correct images, and if its features are more
    similar to an image with another label than in 99.5 % of the correct images. (ours, docs/methods/groups.md)

    Returns:
        One group of blank images, and one group per repeated picture.
    """
    blank = _blank(rows)
    found = []
    if len(blank):
        found.append(
            _PLACEHOLDER.group(
                rows, blank, "blank images", "{count} show a blank picture of one colour.", suspected=False
            )
        )
    for members, similarity in _repeated(rows, blank):
        classes = len(np.unique(rows.label[members]))
        found.append(
            _PLACEHOLDER.group(
                rows,
                members,
                "placeholder picture",
                f"{{count}} show one picture of few colours under {classes} different labels, as a placeholder for a "
                "missing photograph does.",
                statistics={"similarity": similarity, "labels": classes},
                cohesion=similarity,
            )
        )
    return found


def colours(pictures: np.ndarray) -> np.ndarray:
    """Count the colours of pictures (N, 3, S, S) uint8, at 16 levels a channel."""
    codes = (pictures >> 4).astype(np.int64)
    codes = (codes[:, 0] * 256 + codes[:, 1] * 16 + codes[:, 2]).reshape(len(pictures), -1)
    codes.sort(1)
    return 1 + (np.diff(codes, axis=1) != 0).sum(1)


def _blank(rows: Rows) -> np.ndarray:
    if not rows.known("pictures").any():
        return np.zeros(0, np.int64)
    wrong = rows.wrong
    spread = rows.pictures[wrong].reshape(len(wrong), 3, -1).std(2, dtype=np.float64).max(1)
    return wrong[spread < _BLANK]


def _repeated(rows: Rows, blank: np.ndarray) -> list[tuple[np.ndarray, float]]:
    """Return the errors of each placeholder with their mean similarity."""
    from scipy.sparse.csgraph import connected_components

    known = rows.known("features") & rows.known("pictures")
    right = rows.right[known[rows.right]]
    if len(right) < _FEWEST_RIGHT:
        return []
    few = colours(rows.pictures)
    limit = np.quantile(few[right], _FEW_COLOURS)
    wrong = np.setdiff1d(rows.wrong[known[rows.wrong] & (few[rows.wrong] < limit)], blank)
    if not len(wrong):
        return []
    everything = np.concatenate([right, rows.wrong[known[rows.wrong]]])
    similar = np.quantile(_to_other_labels(rows, right, everything), _QUANTILE)
    unit = _unit(rows.features[wrong])
    alike = (unit @ unit.T > similar) & (rows.label[wrong][:, None] != rows.label[wrong])
    number = connected_components(alike, directed=False)[1]
    groups = [wrong[number == one] for one in np.unique(number)]
    return [(members, _mean_cosine(rows.features[members])) for members in groups if len(members) > 1]


def _mean_cosine(features: np.ndarray) -> float:
    """Return the mean cosine between two different images."""
    unit = _unit(features).astype(np.float64)
    n = len(unit)
    return float((np.square(unit.sum(0)).sum() - n) / (n * (n - 1)))


def _to_other_labels(rows: Rows, some: np.ndarray, others: np.ndarray, tile: int = 512) -> np.ndarray:
    """Return the largest cosine of each row's features to those of another label's."""
    theirs = _unit(rows.features[others])
    found = np.empty(len(some))
    for start in range(0, len(some), tile):
        part = some[start : start + tile]
        cosine = _unit(rows.features[part]) @ theirs.T
        cosine[rows.label[part][:, None] == rows.label[others]] = -1
        found[start : start + tile] = cosine.max(1)
    return found


def _unit(features: np.ndarray) -> np.ndarray:
    features = features.astype(np.float32)
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
