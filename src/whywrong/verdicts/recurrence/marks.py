"""Marks as clusters of errors around a medoid, one for each version of a cue."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from whywrong.verdicts.recurrence.blocks import ALIKE, SAME, Block
from whywrong.verdicts.recurrence.result import Mark
from whywrong.verdicts.recurrence.windows import Windows

_FEWEST = 3  # other photographs with the same mark
_FEWEST_ALIKE = 5  # other photographs with an alike mark, where none is the same
_MEDOIDS = 2000  # most candidates for a medoid, the most significant ones; bounds the memory
_FOR_BOX = 64  # most members from which the box of a mark is measured


def cluster(
    detail: np.ndarray, block: Block, windows: Windows, flagged: np.ndarray, place: np.ndarray
) -> Iterator[tuple[Mark, np.ndarray]]:
    """Group errors around medoids.

    The error with the most other photographs above a correlation of 0.8 at its best place becomes a medoid, these
    leave, and so on; then the same at 0.5, for marks that vary. Each error joins the medoid that it is most alike, at
    0.8, or at 0.5 if its own content recurs significantly.

    Args:
        detail: (n, 3, E, E) float32, fine content of a block.
        block: Errors with one prediction.
        windows: Windows of the images.
        flagged: (F,) int64, errors with recurring content, most significant first.
        place: (n,) int64, best place of each error.

    Yields:
        A mark, and the box (M, 4) of the mark in each of its members, as shares of the image.
    """
    if not len(flagged):
        return
    candidates = flagged[:_MEDOIDS]
    correlation, right, down = _to_all(detail, windows, candidates, place)
    medoids = _medoids(correlation, candidates, block.photograph)
    if not medoids:
        return
    to_medoid = correlation[medoids]
    nearest, reached = to_medoid.argmax(0), to_medoid.max(0)
    joins = reached > SAME
    joins[flagged] = reached[flagged] > ALIKE
    for index, candidate in enumerate(medoids):
        medoid = candidates[candidate]
        reached[medoid], nearest[medoid], joins[medoid] = 1, index, True
        members = ((nearest == index) & joins).nonzero()[0]
        members = members[np.lexsort((members != medoid, -reached[members]))]
        if len(np.unique(block.photograph[members])) <= _FEWEST:
            continue
        steps = np.stack([right[candidate, members], down[candidate, members]], 1)
        box = _box(detail[members], steps, windows, windows.places[place[medoid]])
        mark = Mark(
            predicted=block.predicted, members=block.rows[members], correlation=reached[members].copy(), box=box
        )
        yield mark, np.asarray(box) + np.tile(steps, 2) / windows.edge


def _to_all(
    detail: np.ndarray, windows: Windows, candidates: np.ndarray, place: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compare the best window of each candidate with all errors of the block.

    Returns:
        Each (F, n): the largest correlation, and the shift to the right and down at which it is reached, in pixels.
    """
    shape = (len(candidates), len(detail))
    found = np.full(shape, -1, np.float32)
    right, down = np.zeros(shape, np.int8), np.zeros(shape, np.int8)
    for index in np.unique(place[candidates]):
        at = windows.places[index]
        rows = (place[candidates] == index).nonzero()[0]
        vectors, _ = windows.vectors(detail[candidates[rows]], at)
        for near in windows.near(at):
            value = vectors @ windows.vectors(detail, near)[0].T
            row, column = (value > found[rows]).nonzero()
            found[rows[row], column] = value[row, column]
            down[rows[row], column], right[rows[row], column] = near[0] - at[0], near[1] - at[1]
    return found, right, down


def _medoids(correlation: np.ndarray, candidates: np.ndarray, photograph: np.ndarray) -> list[int]:
    """Choose medoids among the candidates (F,), those with most members first."""
    codes = np.unique(photograph, return_inverse=True)[1].reshape(-1)
    free = np.ones(len(codes), bool)
    chosen: list[int] = []
    for bound, fewest in ((SAME, _FEWEST), (ALIKE, _FEWEST_ALIKE)):
        near = correlation > bound
        while True:
            many = _photographs(near & free, codes, codes[candidates])
            many[~free[candidates]] = 0
            sums = np.where(near & free, correlation, 0).sum(1)
            best = int(np.lexsort((-sums, -many))[0])
            if many[best] < fewest:
                break
            chosen.append(best)
            free &= ~near[best]
            free[candidates[best]] = False
    return chosen


def _photographs(members: np.ndarray, codes: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Count the photographs in each row of members (F, n) bool, other than the own one."""
    order = np.argsort(codes, kind="stable")
    starts = np.unique(codes[order], return_index=True)[1]
    found = np.logical_or.reduceat(members[:, order], starts, axis=1)
    return found.sum(1) - found[np.arange(len(own)), own]


def _box(
    detail: np.ndarray, steps: np.ndarray, windows: Windows, place: tuple[int, int]
) -> tuple[float, float, float, float]:
    """Return the box of the pixels around the window in which the medoid and the other members agree.

    They agree in a pixel if the product of their contents, averaged over members and over 3 x 3 pixels, is at least
    half of what equal content would give.

    Args:
        detail: (M, 3, E, E) members, the medoid first.
        steps: (M, 2) shifts of the mark in the members, to the right and down.
        windows: Windows of the images.
        place: Top and left of the medoid's window.
    """
    from scipy.ndimage import label, uniform_filter

    edge, (top, left) = windows.edge, place
    others = [
        np.roll(member, (-down, -right), (1, 2))
        for member, (right, down) in zip(detail[1 : _FOR_BOX + 1], steps[1 : _FOR_BOX + 1].tolist(), strict=True)
    ]
    aligned = np.stack(others)
    product = (aligned * detail[0]).sum(1).mean(0)
    energy = (np.square(aligned) + np.square(detail[0])).sum(1).mean(0) / 2
    agree = uniform_filter(product, 3) > 0.5 * uniform_filter(energy, 3) + 1e-4
    areas = np.zeros(agree.shape, np.int32)
    label(agree, np.ones((3, 3)), output=areas)
    inside = areas[top : top + windows.side, left : left + windows.side]
    kept = np.isin(areas, np.unique(inside[inside > 0]))
    rows, columns = (np.unique(axis).tolist() for axis in kept.nonzero())
    if not rows:
        return windows.box(place)
    return columns[0] / edge, rows[0] / edge, (columns[-1] + 1) / edge, (rows[-1] + 1) / edge
