"""Search for content that errors with one prediction share at one place, and errors with other predictions do not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from whywrong.verdicts.measured import Measured
from whywrong.verdicts.recurrence.blocks import ALIKE, SAME, Block, choose_compared
from whywrong.verdicts.recurrence.copies import photographs
from whywrong.verdicts.recurrence.marks import cluster
from whywrong.verdicts.recurrence.result import Mark, Recurrence
from whywrong.verdicts.recurrence.windows import Windows

_LEVEL = 1e-4  # of the P value over all places
_FEWEST = 3  # other photographs that must share the content
_SMALLEST = 16  # pixels of the side, below which windows are too small
_CONTROLS = 256  # most images with other predictions
# Chance rate before any control is seen, as matches in 20 controls: 5 % for alike content, 0.25 % for the same mark.
_PRIOR, _PRIOR_ALIKE, _PRIOR_SAME = 20, 1.0, 0.05


def recurrence(measured: Measured, reference: Measured | None = None) -> Recurrence:
    """Find content that comes back at the same place in errors with the same prediction.

    Each window of an error, a quarter of the side, is searched in the other errors with the same prediction at the same
    place and within 1/16 of the side of it. The number of photographs in which it is found is tested against the rate
    at which it is found in images with other predictions (binomial, Bonferroni over places): photographs share edges
    and horizons, and those are no cue of one prediction. Errors are compared within one prediction, with at most 1,500
    images, and with 256 images with other predictions, both chosen by a hash of the source. (ours)

    Args:
        measured: Errors; ``detail`` from :func:`fine_content`.
        reference: Correctly classified images, used as further images with other predictions; optional.
    """
    n = len(measured)
    found = Recurrence(
        count=np.zeros(n, np.int64),
        best=np.full(n, np.nan, np.float32),
        compared=np.zeros(n, np.int64),
        p=np.ones(n, np.float32),
        place=np.full((n, 4), np.nan, np.float32),
        cluster=np.full(n, -1),
        marks=(),
    )
    if n < 2 or measured.detail.ndim != 4 or measured.detail.shape[-1] < _SMALLEST:
        return found
    detail = measured.detail.astype(np.float32)
    windows = Windows.of(detail)
    blocks = _blocks(measured, detail, windows)
    if not blocks:
        return found
    best = _best_places(detail, blocks, _controls(measured, reference), windows)
    marks = [mark for block in blocks for mark in _fill(found, best, detail, block, windows)]
    marks.sort(key=lambda mark: -len(mark.members))
    for index, mark in enumerate(marks):
        found.cluster[mark.members] = index
    return found.with_marks(tuple(marks))


@dataclass(frozen=True, slots=True, eq=False)
class _Best:
    """Place with the smallest P value of each error (n,), its number of alike photographs, largest correlation."""

    place: np.ndarray
    p: np.ndarray
    alike: np.ndarray
    top: np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class _Controls:
    """Images (C) with their fine content, predicted class and source."""

    detail: np.ndarray
    predicted: np.ndarray
    sources: np.ndarray


def _blocks(measured: Measured, detail: np.ndarray, windows: Windows) -> list[Block]:
    """Group the errors by prediction, without predictions that only one photograph has."""
    source = np.unique(np.array(measured.sources), return_inverse=True)[1].reshape(-1)
    blocks = []
    for predicted in np.unique(measured.predicted).tolist():
        rows = (measured.predicted == predicted).nonzero()[0]
        if len(np.unique(source[rows])) < 2:
            continue
        chosen = choose_compared([measured.sources[row] for row in rows])
        photograph = photographs(detail[rows], source[rows], chosen, windows)
        if len(np.unique(photograph)) >= 2:
            blocks.append(Block.of(predicted, rows, photograph, chosen))
    return blocks


def _controls(measured: Measured, reference: Measured | None) -> _Controls:
    """Choose images of distinct sources."""
    parts = [measured] if reference is None else [measured, reference]
    sources = np.array([source for part in parts for source in part.sources])
    predicted = np.concatenate([part.predicted for part in parts])
    first = np.unique(sources, return_index=True)[1]
    chosen = first[choose_compared(sources[first].tolist(), _CONTROLS)]
    detail = [measured.detail[row] if row < len(measured) else parts[1].detail[row - len(measured)] for row in chosen]
    return _Controls(np.stack(detail).astype(np.float32), predicted[chosen], sources[chosen])


def _best_places(detail: np.ndarray, blocks: list[Block], controls: _Controls, windows: Windows) -> _Best:
    """Search every window of every error."""
    from scipy.stats import binom

    n = len(detail)
    best = _Best(np.zeros(n, np.int64), np.full(n, np.inf), np.zeros(n, np.int64), np.full(n, -np.inf, np.float32))
    # Images of one class and its errors may share the cue that is searched, so that they are no controls.
    for index, place in enumerate(windows.places):
        within, to_controls = _correlations(detail, blocks, controls, windows, place)
        for block, correlation in zip(blocks, within, strict=True):
            rows = block.rows
            correlation = block.by_photograph(correlation)
            other = to_controls[rows][:, controls.predicted != block.predicted]
            p = np.ones(len(rows))
            for bound, prior in ((ALIKE, _PRIOR_ALIKE), (SAME, _PRIOR_SAME)):
                hits = (correlation > bound).sum(1)
                rate = ((other > bound).sum(1) + prior) / (other.shape[1] + _PRIOR)
                p = np.minimum(
                    p, np.where(hits > 0, 2 * len(windows.places) * binom.sf(hits - 1, block.others, rate), 1)
                )
            top = correlation.max(1)
            better = (p < best.p[rows]) | ((p == best.p[rows]) & (top > best.top[rows]))
            best.p[rows[better]], best.place[rows[better]], best.top[rows[better]] = p[better], index, top[better]
            best.alike[rows[better]] = (correlation > ALIKE).sum(1)[better]
    return best


def _correlations(
    detail: np.ndarray, blocks: list[Block], controls: _Controls, windows: Windows, place: tuple[int, int]
) -> tuple[list[np.ndarray], np.ndarray]:
    """Correlate one window of all errors with the same place, and places near it, of others.

    Returns:
        Largest correlations (n, m) of each block, and (N, C) with the controls.
    """
    ours, _ = windows.vectors(detail, place)
    own = [ours[block.rows] for block in blocks]
    columns = [block.rows[block.chosen] for block in blocks]
    within = [np.full((len(a), len(b)), -1, np.float32) for a, b in zip(own, columns, strict=True)]
    to_controls = np.full((len(detail), len(controls.detail)), -1, np.float32)
    for near in windows.near(place):
        theirs, _ = windows.vectors(detail, near)
        for a, b, largest in zip(own, columns, within, strict=True):
            _raise_to_products(largest, a, theirs[b])
        _raise_to_products(to_controls, ours, windows.vectors(controls.detail, near)[0])
    return within, to_controls


def _raise_to_products(largest: np.ndarray, a: np.ndarray, b: np.ndarray, tile: int = 256) -> None:
    """Raise (n, m) to the products of (n, D) and (m, D) where these are larger, in tiles that fit into the cache."""
    for start in range(0, len(a), tile):
        part = slice(start, start + tile)
        np.maximum(largest[part], a[part] @ b.T, out=largest[part])


def _fill(found: Recurrence, best: _Best, detail: np.ndarray, block: Block, windows: Windows) -> list[Mark]:
    """Write the results of a block and return its marks."""
    rows = block.rows
    found.best[rows], found.compared[rows], found.p[rows] = best.top[rows], block.others, np.minimum(best.p[rows], 1)
    flagged = ((best.p[rows] < _LEVEL) & (best.alike[rows] >= _FEWEST)).nonzero()[0]
    found.count[rows[flagged]] = best.alike[rows[flagged]]
    boxes = np.array([windows.box(place) for place in windows.places], np.float32)
    found.place[rows[flagged]] = boxes[best.place[rows[flagged]]]
    marks = []
    for mark, boxes in cluster(
        detail[rows], block, windows, flagged[np.argsort(best.p[rows[flagged]], kind="stable")], best.place[rows]
    ):
        found.place[mark.members] = boxes
        marks.append(mark)
    return marks
