"""Clusters of errors with the same most probable cause, confirmed on held-out photographs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from whywrong.core.statistics import holm
from whywrong.explain.signs import SIGNS
from whywrong.verdicts.causes import CAUSES, CLASSES
from whywrong.verdicts.groups.descriptors import descriptors, pixel_scores
from whywrong.verdicts.groups.group import Group, Words
from whywrong.verdicts.groups.held_out import Cluster, checked_clusters
from whywrong.verdicts.groups.rows import Rows
from whywrong.verdicts.measured import Measured

_SMALLEST, _SHARE = 5, 0.01  # errors in a cluster: at least 5, and 1 % of all errors
_COHESION = 0.4  # least cohesion; the bulk of all errors reaches 0.3
_LEVEL = 0.05  # of the P values after Holm's correction
_COMMON = 0.6  # share of a cluster's errors that must have a class in common for it to be named
_UNUSUAL = 1.0  # difference in normal scores from the other errors
_SHOWN = 10
_WORDS = {sign.name: (sign.high, sign.low) for sign in SIGNS}
_ACTIONS = {cause.name: cause.action for cause in CAUSES}


def clusters(
    rows: Rows,
    errors: Measured,
    reference: Measured,
    probability: np.ndarray,
    taken: Sequence[str] = (),
    *,
    mendable: Mapping[str, float] | None = None,
) -> list[Group]:
    """Cluster the errors of each most probable cause and keep confirmed clusters.

    Args:
        rows: All items of the run.
        errors: N errors of the run.
        reference: Correct images in role play.
        probability: (N, 8) probabilities of :data:`whywrong.verdicts.causes.CLASSES`.
        taken: Items that already belong to a recurring mark; they are left out.
        mendable: Share of errors of each cause that its action corrects, used to rank groups; 1 if unknown.

    Returns:
        At most 10 groups with a P value of at most 0.05 after Holm's correction and a cohesion of at least 0.4. Groups
        with
            the largest number of correctable errors come first.
    """
    free = ~np.isin(np.array(errors.item_ids), np.array(list(taken), dtype=str))
    leading = probability.argmax(1)
    smallest = max(_SMALLEST, round(_SHARE * len(errors)))
    found: list[tuple[str, np.ndarray, Cluster]] = []
    for index in np.unique(leading[free]).tolist():
        chosen = (free & (leading == index)).nonzero()[0]
        if len(chosen) < 2 * smallest:
            continue
        some = errors.at(chosen)
        x = descriptors(some, reference, probability[chosen], rows.weights)
        if not x.shape[1]:
            continue
        found += [(CLASSES[index], chosen, one) for one in checked_clusters(x, some.sources, smallest)]
    p = holm(np.array([one.p for _, _, one in found]))
    kept = [
        _group(rows, errors, reference, entry, float(value))
        for entry, value in zip(found, p, strict=True)
        if value <= _LEVEL and entry[2].cohesion >= _COHESION and len(entry[2].members) >= smallest
    ]
    worth = mendable or {}
    return sorted(kept, key=lambda group: -group.size * worth.get(group.cause, 1.0))[:_SHOWN]


def _group(
    rows: Rows, errors: Measured, reference: Measured, entry: tuple[str, np.ndarray, Cluster], p: float
) -> Group:
    cause, chosen, one = entry
    members = chosen[one.members]
    label, predicted = _common(errors.label[members]), _common(errors.predicted[members])
    sign = _unusual(errors, reference, members, chosen)
    who = _who(rows, label, predicted)
    known = cause in _ACTIONS
    position = {item: row for row, item in enumerate(rows.item_ids)}
    words = Words(
        kind="cluster",
        cause=cause if known else "",
        action=_ACTIONS.get(cause, "Look at these images together; no cause stands out."),
    )
    what = f"look like {cause}" if known else "look alike"
    name = ", ".join(part for part in (cause if known else "similar errors", who, sign) if part)
    return words.group(
        rows,
        [position[errors.item_ids[row]] for row in members],
        name,
        f"{{count}} {what}" + (f": {', '.join(part for part in (who, sign) if part)}." if who or sign else "."),
        pair=(label, predicted) if label is not None and predicted is not None else None,
        cohesion=one.cohesion,
        held_out_p=p,
    )


def _common(classes: np.ndarray) -> int | None:
    """Return the class that most of the errors have in common, or None."""
    found, times = np.unique(classes, return_counts=True)
    return int(found[times.argmax()]) if times.max() >= _COMMON * len(classes) else None


def _who(rows: Rows, label: int | None, predicted: int | None) -> str:
    if label is not None and predicted is not None:
        return f"mostly {rows.name(label)} predicted as {rows.name(predicted)}"
    if predicted is not None:
        return f"mostly predicted as {rows.name(predicted)}"
    return f"mostly {rows.name(label)}" if label is not None else ""


def _unusual(errors: Measured, reference: Measured, members: np.ndarray, chosen: np.ndarray) -> str:
    """Return in words the pixel sign in which the members differ most from the other errors with this cause."""
    names, scores = pixel_scores(errors, reference)
    others = np.setdiff1d(chosen, members)
    if not names or not len(others):
        return ""
    scores = np.nan_to_num(scores)
    difference = np.median(scores[members], axis=0) - np.median(scores[others], axis=0)
    words = [_WORDS[name][0 if value > 0 else 1] for name, value in zip(names, difference.tolist(), strict=True)]
    size = np.where([bool(word) for word in words], np.abs(difference), 0)
    most = int(size.argmax())
    return words[most] if size[most] >= _UNUSUAL else ""
