"""Collect what is told about each error beside its tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from whywrong.explain.signs import SIGNS
from whywrong.verdicts.cascade import State
from whywrong.verdicts.groups.places import place_in_words
from whywrong.verdicts.measured import Measured
from whywrong.verdicts.neighbours import NEIGHBOUR_SIGNS, neighbour_signs
from whywrong.verdicts.telling.rows import sign_scores
from whywrong.verdicts.words import Shown

UNUSUAL = 2.33  # normal score of the 99 % quantile
MOST_UNUSUAL = 2
_NEAREST = 10
_STAGED = [sign for sign in SIGNS if sign.stage]
_SHOWN_GROUPS = ("pixels_global", "pixels_local")


def what_is_shown(
    state: State, reference: Measured, names: Sequence[str], groups: Sequence[str] | None = None
) -> list[Shown]:
    """Collect helpers' answers, neighbours, recurring content and unusual signs of N errors.

    Args:
        state: What was measured.
        reference: Correct images.
        names: Names of the classes.
        groups: Sentence on the group of each error, empty if it is in none; None without groups.
    """
    measured = state.measured
    scores = sign_scores(measured, reference)
    nearest = neighbour_signs(measured, reference)
    of_label, of_predicted = (
        nearest[:, NEIGHBOUR_SIGNS.index(f"feature_share_{name}")] for name in ("label", "predicted")
    )
    answers = measured.helper_logits.argmax(2) if measured.helper_logits.size else np.zeros((0, len(measured)), int)
    found = []
    for row in range(len(measured)):
        known = np.isfinite(of_label[row]) and np.isfinite(of_predicted[row])
        count = int(state.recurrence.count[row])
        found.append(
            Shown(
                label=names[int(measured.label[row])],
                predicted=names[int(measured.predicted[row])],
                helpers=tuple(names[int(index)] for index in answers[:, row]),
                neighbours=(_NEAREST, round(_NEAREST * of_label[row]), round(_NEAREST * of_predicted[row]))
                if known
                else None,
                recurring=(count, place_in_words(state.recurrence.place[row]) if count else ""),
                unusual=_unusual(scores[row], measured.signs[row], reference),
                reference=len(reference),
                group=groups[row] if groups is not None else "",
            )
        )
    return found


def _unusual(scores: np.ndarray, raw: np.ndarray, reference: Measured) -> tuple[tuple[str, int], ...]:
    """Return the words of the most unusual pixel signs, each group of words once, and how many are less unusual."""
    found: dict[str, int] = {}
    for column in np.argsort(-np.abs(np.nan_to_num(scores)), kind="stable"):
        sign = _STAGED[column]
        if not abs(scores[column]) > UNUSUAL or len(found) == MOST_UNUSUAL:
            break
        words = sign.high if scores[column] > 0 else sign.low
        if words and sign.group in _SHOWN_GROUPS:
            others = reference.signs[:, column]
            others = others[np.isfinite(others)]
            below = (others < raw[column]) if scores[column] > 0 else (others > raw[column])
            found.setdefault(words, int(below.sum()))
    return tuple(found.items())
