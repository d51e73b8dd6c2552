"""Decide on the cause of each error from the calibrated probabilities and the tests.

A cause is stated if it is probable enough and its test supports it. Without support by a test, it is only suspected.
Source: ours, docs/guides/verdict.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from whywrong.verdicts.cascade import POSSIBLE, State
from whywrong.verdicts.causes import CLASSES, ORDINARY
from whywrong.verdicts.tests_of_causes import CauseTest

UNDETERMINED = "undetermined"
HELPED = ("label", "shift")
"""Causes that no test of the image supports; another opinion has to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Verdict on one error.

    Attributes:
        cause: One of the causes, or ``undetermined``.
        kind: Kind of the cause; empty if there is none.
        probability: Probability of the most probable cause; NaN without a combiner.
        stated: Whether the cause is stated; otherwise it is only suspected.
        reason: Why the cause is undetermined or not stated.
        leading: The most probable cause, even if ``cause`` is undetermined.
        test: Test of the cause; None without a test.
        tests: All tests of the error.
        natural: Sentence of a rule for natural errors; empty if no rule applies.
        natural_for, natural_against: Sentences for and against it.
        of_group: Whether ``test`` is a test of the other errors of its group.
    """

    cause: str
    kind: str = ""
    probability: float = float("nan")
    stated: bool = False
    reason: str = ""
    leading: str = UNDETERMINED
    test: CauseTest | None = None
    tests: tuple[CauseTest, ...] = ()
    natural: str = ""
    natural_for: tuple[str, ...] = ()
    natural_against: tuple[str, ...] = ()
    of_group: bool = False


def decide(state: State, tests: Sequence[Sequence[CauseTest]], helpers_agree: np.ndarray) -> list[Verdict]:
    """Decide on the cause of every error.

    Args:
        state: Measurements and predictions.
        tests: Tests of each error.
        helpers_agree: (N,) bool, whether there is a helper and all helpers repeat the prediction of the model.
    """
    if not state.prediction:
        return [_without_combiner(tuple(of_error)) for of_error in tests]
    found = []
    for row, of_error in enumerate(tests):
        last = state.prediction[int(state.stage[row])]
        p = last.probability[row]
        order = [int(k) for k in np.argsort(-p, kind="stable") if CLASSES[k] != ORDINARY]
        leading = CLASSES[order[0]]
        kind = last.kind[row] if last.cause[row] == leading else ""
        test = next((one for one in of_error if one.cause == leading), None)
        common = {
            "leading": leading,
            "probability": float(p[order[0]]),
            "test": test,
            "tests": tuple(of_error),
        }
        if not last.stated[row]:
            found.append(Verdict(cause=UNDETERMINED, reason=last.reason[row], **common))
        elif test is not None and test.outcome == "contradicted":
            found.append(Verdict(cause=UNDETERMINED, reason=f"the test of {leading} contradicts it", **common))
        else:
            reason = _objection(leading, test, bool(helpers_agree[row]))
            found.append(Verdict(cause=leading, kind=kind, stated=not reason, reason=reason, **common))
    return found


def with_group(verdict: Verdict, p: np.ndarray, cause: str, test: CauseTest) -> Verdict:
    """Use the test of an error's group as support, if its cause is possible.

    Args:
        verdict: Verdict on the error alone.
        p: (8,) probabilities of the causes of the error.
        cause: Cause of the group.
        test: Test of the other errors of the group.
    """
    if verdict.stated or test.outcome != "supported" or p[CLASSES.index(cause)] < POSSIBLE:
        return verdict
    own = next((one for one in verdict.tests if one.cause == cause), None)
    if own is not None and own.outcome == "contradicted":
        return verdict
    alone = own is not None and own.outcome == "supported"
    more = {"cause": cause, "leading": cause, "probability": float(p[CLASSES.index(cause)])}
    kind = verdict.kind if verdict.leading == cause else ""
    shown = own if alone else test
    return replace(verdict, stated=True, reason="", kind=kind, test=shown, of_group=not alone, **more)


def _objection(cause: str, test: CauseTest | None, helpers_agree: bool) -> str:
    """Return why a probable cause is not stated; empty if it is."""
    if cause in HELPED and not helpers_agree:
        return "no other model supports it"
    if cause == "shift":
        return ""
    if test is None or test.outcome != "supported":
        return (test.reason if test is not None else "") or "no test"
    return ""


def _without_combiner(tests: tuple[CauseTest, ...]) -> Verdict:
    supported = [test for test in tests if test.outcome == "supported"]
    return Verdict(
        cause=UNDETERMINED,
        reason="the evidence could not be combined",
        test=supported[0] if supported else None,
        tests=tests,
    )
