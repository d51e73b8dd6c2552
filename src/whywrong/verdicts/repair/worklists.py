"""Lists of work for people: which errors to relabel, to look at, or to collect more images for.

Source: ours, docs/guides/repair.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from whywrong.verdicts.cases.predictions import Predictions
from whywrong.verdicts.groups import Group

RELABEL, REMOVE = "relabel", "remove"
TITLES = {
    RELABEL: "Check the label",
    REMOVE: "Remove or replace the image",
    "background": "The model looks at something else",
    "hidden": "The object is cut off or hidden",
    "damaged": "The image is damaged",
    "manipulated": "The image was manipulated",
    "boundary": "The classes are close",
    "unlike": "Unlike the other images",
    "open": "No cause is known",
}
"""Lists and their titles, in the order in which an error is put into the first that fits."""

_OF_CAUSE = {
    "label": RELABEL,
    "spurious": "background",
    "occluded": "hidden",
    "corruption": "damaged",
    "adversarial": "manipulated",
    "confusion": "boundary",
    "shift": "unlike",
}
_OF_KIND = {"placeholder": REMOVE, "duplicates": RELABEL}
_TINY = 1e-12


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkItem:
    """An error and what somebody should do about it.

    Attributes:
        work: List it is on, of :data:`TITLES`.
        item_id, key: The item.
        label, predicted: Names of its classes.
        suggested: Suggested label; empty unless the label is in doubt.
        suspicion: Log of the probability of the prediction through that of the label; NaN without scores. The larger,
            the likelier is the label wrong.
        stated: Whether a test supports the cause.
        evidence: Why it is on the list.
        action: What to do.
    """

    work: str
    item_id: str
    key: str
    label: str
    predicted: str
    suggested: str
    suspicion: float
    stated: bool
    evidence: str
    action: str


def work_items(
    predictions: Predictions, groups: Sequence[Group], verdicts: Mapping[str, Mapping[str, Any]]
) -> list[WorkItem]:
    """Put every error on the list of its verdict, or of its groups where it has none.

    Args:
        predictions: All labelled items of a run.
        groups: Groups of errors, for errors without a cause.
        verdicts: By item, its row of the view ``verdicts``; empty without verdicts.

    Returns:
        Lists in the order of :data:`TITLES`; in each, stated causes first, then the most suspicious.
    """
    suspicion = suspicions(predictions)
    of_item: dict[str, list[Group]] = {}
    for group in groups:
        for item in group.members:
            of_item.setdefault(item, []).append(group)
    found = [
        _item(predictions, row, float(suspicion[row]), of_item, verdicts)
        for row in np.flatnonzero(predictions.wrong).tolist()
    ]
    order = list(TITLES)
    return sorted(found, key=lambda one: (order.index(one.work), not one.stated, -_known(one.suspicion), one.key))


def suspicions(predictions: Predictions) -> np.ndarray:
    """Return how suspicious each label is, (N,): the log ratio of prediction to label, 0 where they agree."""
    ratio = np.log(np.maximum(predictions.confidence, _TINY) / np.maximum(predictions.true_confidence, _TINY))
    return np.where(predictions.wrong, ratio, 0.0)


def _item(
    predictions: Predictions,
    row: int,
    suspicion: float,
    of_item: Mapping[str, Sequence[Group]],
    verdicts: Mapping[str, Mapping[str, Any]],
) -> WorkItem:
    item = str(predictions.item_ids[row])
    verdict, groups = verdicts.get(item, {}), of_item.get(item, ())
    work, evidence, action, stated = "open", "", "Look at the image.", False
    facts = [group for group in groups if group.kind in _OF_KIND]
    causes = [group for group in groups if group.cause in _OF_CAUSE]
    if facts:
        work, evidence, action = _OF_KIND[facts[0].kind], facts[0].sentence, facts[0].action
    elif verdict.get("cause") in _OF_CAUSE:
        work, evidence, stated = _OF_CAUSE[verdict["cause"]], verdict["why_text"], verdict["tested"] == "supported"
        evidence = " ".join([evidence, *(verdict["for_text"] or ())])
        action = verdict["do_text"] or action
    elif causes:
        work, evidence, action = _OF_CAUSE[causes[0].cause], causes[0].sentence, causes[0].action
    name = predictions.names.__getitem__
    predicted = name(int(predictions.predicted[row]))
    return WorkItem(
        work=work,
        item_id=item,
        key=str(predictions.keys[row]),
        label=name(int(predictions.label[row])),
        predicted=predicted,
        suggested=predicted if work == RELABEL else "",
        suspicion=suspicion,
        stated=stated,
        evidence=evidence,
        action=action,
    )


def _known(value: float) -> float:
    return value if np.isfinite(value) else -np.inf
