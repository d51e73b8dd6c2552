"""Copies of one photograph among errors, which must not count as a recurring mark."""

from __future__ import annotations

import numpy as np

from whywrong.verdicts.recurrence.windows import Windows

_SAME = 0.7  # correlation of two windows of one photograph, whatever its compression
_SHARE = 0.9  # share of the content that must be the same
_QUADRANTS = 3  # least number of quadrants in which content is the same: a mark alone is in one or two
_TILE = 512


def photographs(detail: np.ndarray, source: np.ndarray, chosen: np.ndarray, windows: Windows) -> np.ndarray:
    """Number the photographs that images come from.

    Two images show one photograph if their source is the same, or if 90 % of their fine content is the same, place by
    place, in at least three quadrants of the image.

    Args:
        detail: (N, 3, E, E) float32, fine content.
        source: (N,) int64, code of the source.
        chosen: (M,) rows with which all images are compared.
        windows: Windows of the images.

    Returns:
        (N,) int64, equal for images of one photograph.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    codes = np.unique(source, return_inverse=True)[1].reshape(-1)
    links = [np.stack([np.arange(len(source)), len(source) + codes])]
    for start in range(0, len(detail), _TILE):
        tile = np.arange(start, min(start + _TILE, len(detail)))
        row, column = _same_content(detail[tile], detail[chosen], windows).nonzero()
        links.append(np.stack([tile[row], chosen[column]]))
    row, column = np.concatenate(links, axis=1)
    nodes = len(source) + int(codes.max()) + 1
    graph = coo_array((np.ones(len(row), bool), (row, column)), shape=(nodes, nodes))
    return connected_components(graph, directed=False)[1][: len(source)].astype(np.int64)


def _same_content(ours: np.ndarray, theirs: np.ndarray, windows: Windows) -> np.ndarray:
    """Compare images (N) with images (M); (N, M) bool."""
    kept = np.zeros((2, len(ours), len(theirs)), np.float32)
    whole = [np.zeros(len(ours), np.float32), np.zeros(len(theirs), np.float32)]
    quadrants = np.zeros((4, len(ours), len(theirs)), bool)
    middle = (windows.edge - windows.side) / 2
    for place in windows.places:
        a, energy_a = _with_content(*windows.vectors(ours, place))
        b, energy_b = _with_content(*windows.vectors(theirs, place))
        same = a @ b.T > _SAME
        kept[0] += same * energy_a[:, None]
        kept[1] += same * energy_b
        whole[0] += energy_a
        whole[1] += energy_b
        if place[0] != middle and place[1] != middle:
            quadrants[2 * (place[0] > middle) + (place[1] > middle)] |= same
    enough = (kept[0] >= _SHARE * whole[0][:, None]) & (kept[1] >= _SHARE * whole[1])
    return enough & (quadrants.sum(0) >= _QUADRANTS)


def _with_content(vectors: np.ndarray, energy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ignore the energy of windows that are too flat to correlate even with themselves."""
    return vectors, np.where(np.einsum("nd,nd->n", vectors, vectors) > _SAME, energy, np.float32(0))
