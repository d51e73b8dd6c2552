"""Groups of errors that share a recurring mark."""

from __future__ import annotations

import numpy as np

from whywrong.verdicts.groups.group import Group, Words, listed
from whywrong.verdicts.groups.places import place_in_words
from whywrong.verdicts.groups.rows import Rows
from whywrong.verdicts.measured import Measured
from whywrong.verdicts.recurrence import Mark, Recurrence

_SAME = 0.6  # correlation of one mark at two places; different marks reach 0.5 at their best place

_AVERAGED = 32  # most members that are averaged

_MARK = Words(kind="mark", cause="spurious", action="Cover the mark, and vary or remove it in the training images.")


def mark_groups(rows: Rows, errors: Measured, found: Recurrence) -> list[Group]:
    """Group errors with the same recurring mark.

    A cue that recurs at several places has one mark per place. Two marks with the same prediction are joined if the
    mean content of one matches a part of the other with a correlation above 0.6. Versions that look different stay
    separate.

    Args:
        rows: All items of the run.
        errors: Errors of the run.
        found: Recurring content of the errors.

    Returns:
        Groups, largest first; the members of the most frequent place come first.
    """
    position = {item: row for row, item in enumerate(rows.item_ids)}
    groups = [_group(rows, errors, found, marks, position) for marks in _joined(errors, found.marks)]
    return sorted(groups, key=lambda group: -group.size)


def _group(rows: Rows, errors: Measured, found: Recurrence, marks: list[Mark], position: dict[str, int]) -> Group:
    members = np.concatenate([mark.members for mark in marks])
    places = list(dict.fromkeys(place_in_words(mark.box) for mark in marks))
    predicted = rows.name(marks[0].predicted)
    into = int((rows.predicted[rows.wrong] == marks[0].predicted).sum())
    where = f"at the {places[0]}" if len(places) == 1 else f"at the {listed(places, 4)}"
    return _MARK.group(
        rows,
        [position[errors.item_ids[row]] for row in members],
        f"mark at the {places[0]}{'' if len(places) == 1 else ' and elsewhere'}, predicted as {predicted}",
        f"{{count}} share a mark {where} and are predicted as {predicted}"
        + (f" ({into} errors in all are)." if into > len(members) else "."),
        place=marks[0].box,
        cohesion=float(np.concatenate([mark.correlation for mark in marks]).mean()),
        statistics={
            "class": marks[0].predicted,
            "places": len(marks),
            "photographs": len({errors.sources[row] for row in members}),
            "p": float(np.median(found.p[members])),
        },
    )


def _joined(errors: Measured, marks: tuple[Mark, ...]) -> list[list[Mark]]:
    """Join the marks of one cue, each with most members first."""
    from scipy.sparse.csgraph import connected_components

    n = len(marks)
    same = np.zeros((n, n), bool)
    for i in range(n):
        for j in range(i):
            same[i, j] = marks[i].predicted == marks[j].predicted and _same_cue(errors, marks[i], marks[j])
    cue = connected_components(same, directed=False)[1] if n else np.zeros(0, np.int64)
    return [[mark for mark, one in zip(marks, cue, strict=True) if one == number] for number in np.unique(cue)]


def _same_cue(errors: Measured, a: Mark, b: Mark) -> bool:
    """Return whether the content of either mark is found in the medoid of the other."""
    return max(_best_match(errors, one, other) for one, other in ((a, b), (b, a))) > _SAME


def _mean_content(errors: Measured, mark: Mark) -> np.ndarray:
    """Return the mean fine content (3, E, E) of a mark's members, in which the mark stays and the rest fades."""
    return errors.detail[mark.members[:_AVERAGED]].astype(np.float32).mean(0)


def _best_match(errors: Measured, mark: Mark, other: Mark) -> float:
    """Return the largest correlation of a mark's content with any place of the other mark's images."""
    edge = errors.detail.shape[-1]
    left, top, right, bottom = (round(share * edge) for share in mark.box)
    if right - left > edge // 2 or bottom - top > edge // 2:
        return 0.0  # too large to be moved
    content = _mean_content(errors, mark)[:, top:bottom, left:right]
    image = _mean_content(errors, other)
    views = np.lib.stride_tricks.sliding_window_view(image, content.shape[1:], axis=(1, 2))  # (3, Y, X, h, w)
    content = content - content.mean((1, 2), keepdims=True)
    product = np.einsum("cyxhw,chw->yx", views, content)
    energy = (np.square(views).mean((3, 4)) - np.square(views.mean((3, 4)))).sum(0) * content[0].size
    return float((product / np.sqrt(np.maximum(energy, 1e-9) * np.square(content).sum())).max())
