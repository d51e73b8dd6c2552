"""Sentences of a verdict in plain English.

A cause is only called so if a test supports it; otherwise the error looks like it. The control is in the same sentence
as the effect. Shares come with their counts.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from whywrong.explain.interventions import INTERVENTIONS
from whywrong.verdicts.causes import Cause, cause_named
from whywrong.verdicts.decide import UNDETERMINED, Verdict
from whywrong.verdicts.tests_of_causes import SIGN_TESTS, CauseTest

NAMES = {
    "label": "a wrong or ambiguous label",
    "corruption": "damage to the image",
    "adversarial": "an adversarial change",
    "spurious": "a misleading cue",
    "occluded": "a hidden, cut off or small object",
    "confusion": "classes that look alike",
    "shift": "an image unlike the correctly classified ones",
}
"""What each cause is called in a sentence."""

_WORDS = {test.name: test.words for test in INTERVENTIONS}
_EDITS = {test.name: len(test.edits) for test in INTERVENTIONS}
_REASONS = {
    "no more than controls": "the test has no larger effect than on comparable correct images",
    "neutral edits restore it as well": "a flip or a small shift helps as much",
    "other errors respond as well": "other errors respond as much",
    "not enough other errors": "there are too few other errors to compare with",
    "not enough controls": "there are too few comparable correct images",
    "no damage found": "no damage of a known kind was found",
    "no intervention": "no test of it exists",
    "not measured": "its test was not made",
    "no test": "no test of it exists",
    "access": "the model returns no scores",
    "no power": "its test rarely finds planted errors",
    "reverse test": "the same change has no effect on other images",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What is told about one error.

    Attributes:
        label, predicted: Names of its classes.
        helpers: Names of the classes that the helpers predict.
        neighbours: Number of the nearest correct images, of those that are of the label, and of the prediction; None
            without features.
        recurring: Number of other errors with the same prediction whose content recurs, and the place in words.
        unusual: Words of its most unusual signs, with the number of reference images that are less unusual.
        reference: Number of reference images.
        group: Sentence on its group; empty if it is in none.
    """

    label: str
    predicted: str
    helpers: tuple[str, ...] = ()
    neighbours: tuple[int, int, int] | None = None
    recurring: tuple[int, str] = (0, "")
    unusual: tuple[tuple[str, int], ...] = ()
    reference: int = 0
    group: str = ""


def why(verdict: Verdict) -> str:
    """Return the verdict in one sentence."""
    if verdict.natural:
        return verdict.natural
    kind = f"{verdict.kind}; " if verdict.kind else ""
    if verdict.cause == UNDETERMINED:
        return f"Undetermined: {verdict.reason}."
    name = NAMES.get(verdict.cause, verdict.cause)
    if verdict.stated:
        return f"Probably {name} ({kind}{verdict.probability:.2f})."
    reason = _REASONS.get(verdict.reason, verdict.reason)
    return f"Looks like {name} ({kind}{verdict.probability:.2f}), but this is not confirmed: {reason}."


def for_it(verdict: Verdict, shown: Shown) -> list[str]:
    """Return what speaks for the verdict."""
    found: list[str] = []
    if verdict.natural:
        return [*verdict.natural_for, *([shown.group] if shown.group else [])]
    if verdict.of_group and verdict.test is not None:
        found.append(f"The other errors of its group: {test_sentence(verdict.test, shown)}")
    elif verdict.test is not None and verdict.test.outcome == "supported":
        found.append(test_sentence(verdict.test, shown))
    elif verdict.cause == UNDETERMINED:
        found += [test_sentence(test, shown) for test in verdict.tests if test.outcome == "supported"]
    if verdict.leading == "label" and verdict.test is not None and verdict.test.outcome != "supported":
        found += [test_sentence(verdict.test, shown)] if math.isfinite(verdict.test.control) else []
    count, place = shown.recurring
    if count and verdict.leading in ("spurious", UNDETERMINED):
        other = "other error that is" if count == 1 else "other errors that are"
        found.append(f"The content at the {place} recurs in {count} {other} predicted as {shown.predicted}.")
    if shown.group:
        found.append(shown.group)
    found += _opinions(shown, verdict.leading, speaks_for=True)
    found += [
        f"Unusual: {words}, more than in {below} of {shown.reference} correct images." for words, below in shown.unusual
    ]
    return found


def against_it(verdict: Verdict, shown: Shown) -> list[str]:
    """Return what speaks against the verdict."""
    found: list[str] = []
    if verdict.natural:
        return list(verdict.natural_against)
    test = verdict.test
    if test is not None and test.outcome != "supported" and math.isfinite(test.control) and verdict.leading != "label":
        found.append(test_sentence(test, shown))
    if test is not None and test.outcome == "supported" and math.isfinite(test.neutral) and test.neutral > 0:
        found.append(f"A flip or a small shift restores {shown.label} as well in {_share(test.neutral)} of the tries.")
    for other in verdict.tests:
        if other.outcome == "supported" and other is not test and verdict.cause != UNDETERMINED:
            found.append(test_sentence(other, shown))
    return found + _opinions(shown, verdict.leading, speaks_for=False)


def what_to_do(verdict: Verdict, advised: str = "") -> str:
    """Return the action.

    Args:
        verdict: The verdict.
        advised: Action of the error's group whose gain was measured; empty without one.
    """
    if advised:
        return advised
    if verdict.cause == UNDETERMINED:
        return "Look at the image and its group. A second model (--helper) may tell the cause."
    return cause_of(verdict.cause).action


def cause_of(name: str) -> Cause:
    """Return the entry of a cause in the registry."""
    return cause_named(name)


def test_sentence(test: CauseTest, shown: Shown) -> str:
    """Return a test in one sentence, with its control."""
    names = {"label": shown.label, "predicted": shown.predicted}
    p = _p(test.p_holm)
    if test.name in (name for name, _ in SIGN_TESTS.values()):
        edits = next(count for name, count in SIGN_TESTS.values() if name == test.name)
        kept = f"The prediction {shown.predicted} stays in {round(test.restored * edits)} of {edits} small changes"
        return (
            f"{kept}; for {test.controls} comparable correct images it stays in {test.control * edits:.1f} on average."
        )
    if test.direction == "give":
        hits, others = (round(share * test.controls) for share in (test.restored, test.control))
        turned = f"as {shown.predicted}" if test.cause == "spurious" else "wrongly"
        return (
            f"If the suspected cause is added to {test.controls} correct images, {hits} are predicted {turned};"
            f" with the control {others} ({p})."
        )
    edits = _EDITS.get(test.name, 1)
    words = _WORDS.get(test.name, "The test restores {label} in {restored} of {edits} tries")
    first = words.format(restored=round(test.restored * edits), edits=edits, **names)
    return f"{first}; for {test.controls} comparable correct images, {edits * test.control:.1f} on average ({p})."


def _opinions(shown: Shown, leading: str, *, speaks_for: bool) -> list[str]:
    """Return what helpers and the nearest correct images say."""
    found = []
    if shown.helpers:
        found += [text for text, agrees in _of_helpers(shown, leading) if agrees == speaks_for]
    if shown.neighbours is not None and leading in ("label", "confusion"):
        count, label, predicted = shown.neighbours
        for name, n, agrees in ((shown.predicted, predicted, True), (shown.label, label, leading != "label")):
            if n > count / 2 and agrees == speaks_for:
                found.append(f"{n} of the {count} correct images with the most similar features are {name}.")
    return found


def _of_helpers(shown: Shown, leading: str) -> list[tuple[str, bool]]:
    found = []
    for name in shown.helpers:
        if name == shown.label:
            found.append((f"Another model predicts the label, {name}.", leading != "label"))
        elif name == shown.predicted:
            found.append((f"Another model predicts {name} as well.", leading == "label"))
        else:
            found.append((f"Another model predicts a third class, {name}.", False))
    return found


def _p(value: float) -> str:
    if not math.isfinite(value):
        return "no p value"
    return "p < 0.01" if value < 0.01 else f"p = {value:.2f}"


def _share(value: float) -> str:
    return f"{100 * value:.0f} %"
