"""Rows of the tables of errors."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from whywrong.core.access import Access
from whywrong.core.status import Status
from whywrong.explain.interventions import BY_NAME
from whywrong.explain.signs import SIGNS, Sign, absent
from whywrong.verdicts.cascade import State
from whywrong.verdicts.cases.cases import Cases
from whywrong.verdicts.causes import CLASSES, ORDINARY
from whywrong.verdicts.decide import UNDETERMINED, Verdict
from whywrong.verdicts.measured import Measured
from whywrong.verdicts.normalise import normalised
from whywrong.verdicts.stages.reference import Reference
from whywrong.verdicts.tests_of_causes import SIGN_TESTS, CauseTest
from whywrong.verdicts.words import Shown, against_it, for_it, what_to_do, why

_STAGED = [sign for sign in SIGNS if sign.stage]
NOT_NEEDED = "not needed to tell the cause"


@dataclass(frozen=True, slots=True, kw_only=True)
class Common:
    """What all verdicts of an analysis share.

    Attributes:
        access: Access to the model.
        helpers: Identities of the helpers.
        combiner: Hash of the combiner; None without one.
        lacks: What was not available for any error.
    """

    access: Access
    helpers: tuple[str, ...]
    combiner: str | None
    lacks: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class OfGroup:
    """What the group of an error adds.

    Attributes:
        group_id: Number of the group.
        advised: Its action, if its gain was measured.
    """

    group_id: int
    advised: str = ""


def verdict_row(
    row: int, cases: Cases, state: State, verdict: Verdict, shown: Shown, group: OfGroup | None, common: Common
) -> dict[str, Any]:
    """Make the row of an error in the table ``verdicts``."""
    test = verdict.test
    item = cases.at(np.array([row]))
    return {
        "item_id": item.item_ids[0],
        "image_id": item.image_ids[0],
        "label": int(item.label[0]),
        "predicted": int(item.predicted[0]),
        "cause": verdict.cause,
        "kind": verdict.kind or None,
        **_probabilities(row, state, verdict),
        "tested": test.outcome if test is not None else "untested",
        **_test_columns(test),
        "why_text": why(verdict),
        "for_text": for_it(verdict, shown),
        "against_text": against_it(verdict, shown),
        "do_text": what_to_do(verdict, group.advised if group is not None else ""),
        "lacks": [*common.lacks, *_lacking(row, state)],
        "stage": int(state.stage[row]),
        "access": common.access.name,
        "helper": list(common.helpers),
        "combiner": common.combiner,
        "group_id": group.group_id if group is not None else None,
        "forwards": int(state.measured.forwards[row]),
        "backwards": int(state.measured.backwards[row]),
    }


def unmeasured_row(cases: Cases, row: int, reason: str, group: OfGroup | None, common: Common) -> dict[str, Any]:
    """Make the row of an error that could not be measured."""
    item = cases.at(np.array([row]))
    verdict = Verdict(cause=UNDETERMINED, reason=reason)
    return {
        "item_id": item.item_ids[0],
        "image_id": item.image_ids[0],
        "label": int(item.label[0]),
        "predicted": int(item.predicted[0]),
        "cause": UNDETERMINED,
        "kind": None,
        "probability": None,
        "probability_flat": None,
        "causes": [],
        "ordinary": None,
        "set90": [],
        "tested": "untested",
        **_test_columns(None),
        "why_text": why(verdict),
        "for_text": [],
        "against_text": [],
        "do_text": what_to_do(verdict, group.advised if group is not None else ""),
        "lacks": [*common.lacks, reason],
        "stage": 0,
        "access": common.access.name,
        "helper": list(common.helpers),
        "combiner": common.combiner,
        "group_id": group.group_id if group is not None else None,
        "forwards": 0,
        "backwards": 0,
    }


def sign_rows(
    cases: Cases, measured: Measured, reference: Reference, access: Access, shape: tuple[int, int, int]
) -> Iterator[dict[str, Any]]:
    """Make the rows of the table ``signs``, one for each error and sign.

    Args:
        cases: The errors.
        measured: Their measurements.
        reference: The correct images.
        access: Access to the model.
        shape: (C, H, W) of the images.
    """
    scores, correct, refused = sign_scores(measured, reference.measured), reference.measured, reference.trial.reason()
    for row, item in enumerate(measured.item_ids):
        for column, sign in enumerate(_STAGED):
            raw = float(measured.signs[row, column])
            known = math.isfinite(raw)
            why_not = "" if known else _why_absent(sign, access, shape, measured)
            refuse = bool(refused) and sign.stage == "survival" and why_not == NOT_NEEDED
            absence = Status.REFUSED if refuse else Status.SKIPPED
            yield {
                "item_id": item,
                "image_id": cases.image_ids[row],
                "sign": sign.name,
                "group": sign.group,
                "raw": raw,
                "normal": float(scores[row, column]),
                "reference_n": int(np.isfinite(correct.signs[:, column]).sum()) if len(correct) else 0,
                "access": sign.access.name,
                "status": (Status.OK if known else absence).value,
                "reason": (refused if refuse else why_not) or None,
            }


def sign_scores(measured: Measured, reference: Measured) -> np.ndarray:
    """Return the normal scores of the signs (N, S) among the reference images; NaN without enough of them."""
    kinds = ["quantity"] * len(_STAGED)  # a share keeps its value as evidence, but is shown by its rank, too
    count = len(_STAGED)
    if not len(reference):
        return np.full((len(measured), count), np.nan)
    return normalised(measured.signs[:, :count], reference.signs[:, :count], kinds)


def intervention_rows(cases: Cases, tests: Sequence[Sequence[CauseTest]]) -> Iterator[dict[str, Any]]:
    """Make the rows of the table ``interventions``, one for each cause tested of each error."""
    for row, of_error in enumerate(tests):
        for test in of_error:
            yield {
                "item_id": cases.item_ids[row],
                "image_id": cases.image_ids[row],
                "intervention": test.name or None,
                "cause": test.cause,
                "edits": edits_of(test.name),
                "restored": test.restored,
                "control_reference": test.control,
                "control_place": test.neutral,
                "effect": test.effect,
                "low": test.low,
                "high": test.high,
                "p": test.p,
                "p_holm": test.p_holm,
                "direction": test.direction,
                "outcome": test.outcome,
                "forwards": edits_of(test.name),
            }


def edits_of(name: str) -> int:
    """Return the number of edits of a test; 0 if it is none of the interventions."""
    if name in BY_NAME:
        return len(BY_NAME[name].edits)
    return next((count for sign, count in SIGN_TESTS.values() if sign == name), 0)


def _probabilities(row: int, state: State, verdict: Verdict) -> dict[str, Any]:
    if not state.prediction:
        return {"probability": None, "probability_flat": None, "causes": [], "ordinary": None, "set90": []}
    last = state.prediction[int(state.stage[row])]
    p, flat = last.probability[row], last.probability_flat[row]
    order = [int(k) for k in np.argsort(-p, kind="stable") if CLASSES[k] != ORDINARY]
    return {
        "probability": verdict.probability,
        "probability_flat": float(flat[order[0]]),
        "causes": [{"cause": CLASSES[k], "probability": float(p[k])} for k in order],
        "ordinary": float(p[CLASSES.index(ORDINARY)]),
        "set90": list(last.set90[row]),
    }


def _test_columns(test: CauseTest | None) -> dict[str, Any]:
    if test is None:
        return dict.fromkeys(("test", "restored", "control", "effect", "p", "power"))
    return {
        "test": test.name or None,
        "restored": test.restored,
        "control": test.control,
        "effect": test.effect,
        "p": test.p_holm,
        "power": test.power,
    }


def _lacking(row: int, state: State) -> list[str]:
    if not state.prediction:
        return []
    return list(state.prediction[int(state.stage[row])].lacks[row])


def _why_absent(sign: Sign, access: Access, shape: tuple[int, int, int], measured: Measured) -> str:
    return absent(sign, access, shape, measured.logits.shape[1] or None) or NOT_NEEDED
