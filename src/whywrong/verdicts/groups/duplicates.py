"""Errors that are copies of each other, and errors with a copy that has another label."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from whywrong.verdicts.groups.group import Group, Words, listed
from whywrong.verdicts.groups.rows import Rows

_SIDE = 16  # pixels at which pictures are compared
_CORRELATION = 0.98
_DIFFERENCE = 6.0  # grey levels, mean absolute difference
_FLAT = 8.0  # grey levels of standard deviation, below which pictures are alike by accident
_TILE = 512

_CONFLICT = Words(
    kind="duplicates", cause="label", action="Decide which label is right, and correct or remove the others."
)
_COPIES = Words(kind="duplicates", cause="", action="Keep one copy of each photograph, so that it counts once.")


def duplicates(rows: Rows) -> list[Group]:
    """Find errors that are exact or near copies of another item.

    Two items are copies if they have the same source. They are also copies if their thumbnails of 16 x 16 pixels
    correlate by at least 0.98 and differ by at most 6 grey levels on average. (ours)

    Returns:
        A group of errors with a copy under another label, and a group of errors that are copies of each other with the
        same
            label; empty groups are omitted.
    """
    wrong = rows.wrong
    number = number_photographs(rows.sources, rows.pictures, wrong)
    labels = {(int(a), int(b)) for a, b in zip(number, rows.label, strict=True)}
    with_labels = np.bincount(
        np.array([one for one, _ in labels], np.int64), minlength=int(number.max()) + 1 if len(number) else 0
    )
    conflict = wrong[with_labels[number[wrong]] > 1]
    copied = wrong[
        (with_labels[number[wrong]] == 1) & (np.bincount(number[wrong], minlength=len(with_labels))[number[wrong]] > 1)
    ]
    found = []
    if len(conflict):
        order = conflict[np.argsort(number[conflict], kind="stable")]
        photographs = len(np.unique(number[conflict]))
        first = np.isin(number, number[order[:1]])
        names = [rows.name(index) for index in np.unique(rows.label[first]).tolist()]
        found.append(
            _CONFLICT.group(
                rows,
                order,
                "copies with different labels",
                f"{{count}} are copies of images that carry another label; {photographs} "
                f"{'photograph has' if photographs == 1 else 'photographs have'} more than one label, such as "
                f"{listed(names)}.",
                suspected=False,
                statistics={"photographs": photographs},
            )
        )
    if len(copied):
        photographs = len(np.unique(number[copied]))
        found.append(
            _COPIES.group(
                rows,
                copied[np.argsort(number[copied], kind="stable")],
                "copies of each other",
                f"{{count}} are copies of only {photographs} {'photograph' if photographs == 1 else 'photographs'}.",
                suspected=False,
                statistics={"photographs": photographs},
            )
        )
    return found


def number_photographs(sources: Sequence[str], pictures: np.ndarray, wrong: np.ndarray) -> np.ndarray:
    """Assign a number to the photograph of each item.

    Args:
        sources: Sources of N items.
        pictures: (N, 3, S, S) uint8 with S >= 16, or no pictures.
        wrong: (E,) int64, items for which near copies are searched.

        Returns:
            (N,) int64, equal for items with the same source and for near copies.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(sources)
    source = np.unique(np.array(sources), return_inverse=True)[1].reshape(-1) if n else np.zeros(0, np.int64)
    links = [np.stack([np.arange(n), n + source])]
    if pictures.size:
        links += _alike(pictures, wrong)
    row, column = np.concatenate(links, axis=1)
    nodes = n + (int(source.max()) + 1 if n else 0)
    graph = coo_array((np.ones(len(row), bool), (row, column)), shape=(nodes, nodes))
    return connected_components(graph, directed=False)[1][:n].astype(np.int64)


def _alike(pictures: np.ndarray, wrong: np.ndarray) -> Iterator[np.ndarray]:
    """Yield pairs (2, P) of an error and a near copy of it."""
    small = _reduced(pictures)
    centred = small - small.mean(1, keepdims=True)
    length = np.linalg.norm(centred, axis=1)
    textured = length > _FLAT * np.sqrt(small.shape[1])
    unit = centred / np.maximum(length, 1e-6)[:, None]
    unit[~textured] = 0
    for start in range(0, len(wrong), _TILE):
        part = wrong[start : start + _TILE]
        row, column = (unit[part] @ unit.T > _CORRELATION).nonzero()
        row = part[row]
        near = np.abs(small[row] - small[column]).mean(1) <= _DIFFERENCE
        yield np.stack([row[near], column[near]])


def _reduced(pictures: np.ndarray) -> np.ndarray:
    """Reduce pictures (N, 3, S, S) to vectors (N, 3 * 16 * 16) float32 by averaging over areas."""
    side = pictures.shape[-1]
    bounds = np.linspace(0, side, _SIDE + 1).round().astype(int)[:-1]
    widths = np.diff(np.append(bounds, side)).astype(np.float32)
    sums = np.add.reduceat(np.add.reduceat(pictures.astype(np.float32), bounds, axis=2), bounds, axis=3)
    return (sums / (widths[:, None] * widths)).reshape(len(pictures), -1)
