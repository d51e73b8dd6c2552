"""Tests of suspected causes against matched controls.

An intervention takes the suspected cause away from an error, or gives it to other images. Its effect is the share of
edits that restore the label, minus the same share in correctly classified images that play the part of an error with
their runner-up as the label. The rule, its constants and its limits are in docs/methods/interventions.md (ours).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from whywrong.core.effects import paired_interval, share_interval, sign_test
from whywrong.core.statistics import holm
from whywrong.explain.interventions.catalogue import BY_NAME, Direction
from whywrong.verdicts.controls import (
    CALIPER,
    FEWEST_CONTROLS,
    MOST_CONTROLS,
    logit_scale,
    margins,
    matched_controls,
)
from whywrong.verdicts.damage import diagnose_damage
from whywrong.verdicts.measured import Measured

Outcome = Literal["supported", "contradicted", "untested"]

LEVEL = 0.05
LEAST_EFFECT = {"remove": 0.25, "give": 0.10}
FEWEST_ERRORS = 20  # other errors needed as controls
TOP_SHARE = 0.25  # largest share of other errors that may respond as much
MOST_CAUSES = 3
LEAST_POWER = 0.3
SIGN_TESTS = {"label": ("survival_kept", 23)}  # causes whose primary statistic is a sign, with the number of its edits
PRIMARY = {"adversarial": "disturb"}
GIVE_FIRST = ("spurious", "occluded")  # causes that only the effect on other images decides on
NOTHING_TO_GIVE = {"adversarial": 0.05}  # largest share of other images that the difference may turn
BEYOND_NEUTRAL = ("corruption",)  # causes for which a flip or a shift should not help
_TIE = 1e-6
_MOST_OTHERS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class CauseTest:
    """Outcome of the primary test of one cause of one error, or of a group.

    Attributes:
        cause: Cause that is tested.
        name: Intervention or sign; empty if the cause has none.
        direction: ``remove`` takes the cause away; ``give`` gives it to other images.
        restored: Share of edits after which the label is predicted; with ``give``, share of the other images that then
            get the error's prediction. NaN if not measured.
        control: Mean of the same share over the controls.
        effect: ``restored - control``, with the ends ``low`` and ``high`` of its 90 % interval.
        p: P value against the controls.
        p_holm: The same, adjusted for the causes tested on this error.
        outcome: ``supported``, ``contradicted`` (groups only) or ``untested``.
        reason: Why it is not supported; empty otherwise.
        power: Share of planted errors of the cause that this test supports; NaN if unknown.
        controls: Number of controls.
        neutral: Share of neutral edits of the same error (a flip, shifts) that restore the label.
        others: Mean of ``restored`` over other errors of equal margin.
    """

    cause: str
    name: str = ""
    direction: Direction = "remove"
    restored: float = math.nan
    control: float = math.nan
    effect: float = math.nan
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan
    p_holm: float = math.nan
    outcome: Outcome = "untested"
    reason: str = ""
    power: float = math.nan
    controls: int = 0
    neutral: float = math.nan
    others: float = math.nan


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Given:
    """Result of giving the cause of each error to other images, see :mod:`whywrong.explain.interventions.giving`.

    Attributes:
        share: (N,) share of the other images that turn with the cause; NaN if the error was not tested.
        control: (N,) the same share with the control.
        wins: (N,) other images that turn with the cause and not with its control.
        losses: (N,) those that turn with the control only.
        edits: Number of the other images.
        name: Name of the test.
    """

    share: np.ndarray
    control: np.ndarray
    wins: np.ndarray
    losses: np.ndarray
    edits: int
    name: str


def run_tests(
    errors: Measured,
    reference: Measured,
    causes_to_test: Sequence[Sequence[str]],
    given: Mapping[str, Given] | None = None,
    *,
    natural: bool = True,
    power: Mapping[str, float] | None = None,
) -> list[list[CauseTest]]:
    """Test the suspected causes of each error.

    Args:
        errors: N errors with their interventions; NaN where one was not measured.
        reference: Correctly classified images in the part of errors, with all interventions.
        causes_to_test: At most three causes of each error, fixed before its interventions are seen.
        given: Results of giving a cause to other images, by cause. They decide on ``spurious`` and ``occluded``; for
            other causes they are a further requirement.
        natural: Whether the errors may be natural ones. A supported test must then also exceed neutral edits of the
            same error and other errors of equal margin.
        power: Power of each test on planted errors, by its name.

    Returns:
        The tests of each error, in the order of its causes.

    Raises:
        ValueError: An error has more than three causes.
    """
    found = []
    tests = CauseTests(errors, reference, given, natural=natural, power=power)
    for row, causes in enumerate(causes_to_test):
        if len(causes) > MOST_CAUSES:
            raise ValueError(f"at most {MOST_CAUSES} causes of an error can be tested, got {len(causes)}")
        measured = [tests.measure(row, cause) for cause in causes]
        adjusted = holm(np.array([test.p for test in measured]))
        found.append([tests.decide(row, test, float(p)) for test, p in zip(measured, adjusted, strict=True)])
    return found


class CauseTests:
    """Statistics and controls of all errors, see :func:`run_tests`."""

    def __init__(
        self,
        errors: Measured,
        reference: Measured,
        given: Mapping[str, Given] | None = None,
        *,
        natural: bool = True,
        power: Mapping[str, float] | None = None,
    ) -> None:
        self.errors, self.reference, self.natural = errors, reference, natural
        self.given, self.power = given or {}, power or {}
        scale = logit_scale(reference)
        self.margin = margins(errors, scale)
        self.controls = matched_controls(
            self.margin,
            margins(reference, scale),
            errors.predicted,
            reference.predicted,
            sources=errors.sources,
            pool_sources=reference.sources,
        )
        numbers = {name: at for at, name in enumerate(dict.fromkeys(errors.sources))}
        self._source = np.array([numbers[name] for name in errors.sources], np.int64)
        self._pools: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self.damage = diagnose_damage(errors, reference)

    def measure(self, row: int, cause: str) -> CauseTest:
        """Compute effect and P value of the primary test of one cause; only a reason if there is none."""
        if cause in GIVE_FIRST:
            return self._measure_given(row, cause)
        started, edits, control = self.statistic(row, cause)
        if started.reason:
            return started
        if len(control) < FEWEST_CONTROLS:
            return replace(started, controls=len(control), reason="not enough controls")
        low, high = share_interval(started.restored, edits, control)
        p = (1 + int((control >= started.restored - _TIE).sum())) / (1 + len(control))
        mean = float(control.mean())
        return replace(
            started, controls=len(control), control=mean, effect=started.restored - mean, low=low, high=high, p=p
        )

    def statistic(self, row: int, cause: str) -> tuple[CauseTest, int, np.ndarray]:
        """Return the share restored by a primary test, its number of edits, and the shares of the controls (M,)."""
        nothing = np.empty(0)
        test = self._primary(row, cause)
        if test is None:
            reason = "no damage found" if cause == "corruption" else "no intervention"
            return CauseTest(cause=cause, reason=reason), 0, nothing
        name, values, pool, edits = test
        started = CauseTest(cause=cause, name=name, restored=float(values[row]), power=self.power.get(name, math.nan))
        if not math.isfinite(started.restored):
            return replace(started, reason="not measured"), edits, nothing
        if not math.isfinite(self.margin[row]):
            return replace(started, reason="access"), edits, nothing
        control = pool[self.controls[row][self.controls[row] >= 0]]
        return started, edits, control[np.isfinite(control)].astype(np.float64)

    def _measure_given(self, row: int, cause: str) -> CauseTest:
        """Compare pairs of other images by the exact one-sided sign test."""
        given = self.given.get(cause)
        if given is None or not math.isfinite(given.share[row]):
            return CauseTest(cause=cause, direction="give", reason="not measured")
        share, control = float(given.share[row]), float(given.control[row])
        wins, losses = int(given.wins[row]), int(given.losses[row])
        low, high = paired_interval(wins, losses, given.edits)
        return CauseTest(
            cause=cause,
            name=given.name,
            direction="give",
            restored=share,
            control=control,
            effect=share - control,
            low=low,
            high=high,
            p=sign_test(wins, losses),
            power=self.power.get(given.name, math.nan),
            controls=given.edits,
        )

    def _primary(self, row: int, cause: str) -> tuple[str, np.ndarray, np.ndarray, int] | None:
        """Return name, values of the errors and of the reference, and edits of the primary test."""
        if cause in SIGN_TESTS:
            name, edits = SIGN_TESTS[cause]
            if name not in self.errors.sign_names:
                return None
            return name, self.errors.sign(name), self.reference.sign(name), edits
        name = self.damage[row] if cause == "corruption" else PRIMARY.get(cause, "")
        if not name or name not in self.errors.test_names:
            return None
        return name, self.errors.test(name), self.reference.test(name), BY_NAME[name].forwards

    def decide(self, row: int, test: CauseTest, p_holm: float) -> CauseTest:
        """Apply the rule to a test whose effect and P value are known."""
        if not math.isfinite(test.p):
            return test
        test = replace(test, p_holm=p_holm)
        if self.natural and test.direction == "remove":
            test = replace(test, neutral=self.neutral(row), others=self.mean_of_others(row, test.name))
        reason = self._objection(row, test)
        return replace(test, outcome="untested" if reason else "supported", reason=reason)

    def _objection(self, row: int, test: CauseTest) -> str:
        """Return why a test does not support its cause; empty if it does."""
        if test.power < LEAST_POWER:  # False if the power is unknown
            return "no power"
        if test.p_holm > LEVEL or test.effect < LEAST_EFFECT[test.direction]:
            return "no more than controls"
        if self._reverse_fails(row, test):
            return "reverse test"
        return self._natural_objection(row, test) if self.natural and test.direction == "remove" else ""

    def _natural_objection(self, row: int, test: CauseTest) -> str:
        """Compare with neutral edits of the same error and with other errors of equal margin."""
        least = LEAST_EFFECT[test.direction]
        if test.cause == "label" and not self._helpers_agree(row):
            return "no second model predicts the same"
        if test.cause in BEYOND_NEUTRAL and not test.restored - test.neutral >= least:
            return "neutral edits restore it as well"
        if not math.isfinite(test.others):
            return "not enough other errors"
        as_high = float((self._values_of_others(row, test.name) >= test.restored - _TIE).mean())
        if test.restored - test.others < least or as_high > TOP_SHARE:
            return "other errors respond as well"
        return ""

    def _reverse_fails(self, row: int, test: CauseTest) -> bool:
        """Check the reverse test of a cause that is decided by taking it away, if it was made."""
        given = self.given.get(test.cause)
        if test.direction == "give" or given is None or not math.isfinite(given.share[row]):
            return False
        if test.cause in NOTHING_TO_GIVE:
            return float(given.share[row]) > NOTHING_TO_GIVE[test.cause]
        return float(given.share[row] - given.control[row]) < LEAST_EFFECT["give"]

    def _helpers_agree(self, row: int) -> bool:
        """Check that there are second models and that all of them predict what the model does."""
        answers = self.errors.helper_logits[:, row].argmax(-1)
        return bool(len(answers)) and bool((answers == self.errors.predicted[row]).all())

    def neutral(self, row: int) -> float:
        """Return the share of neutral edits of an error that restore its label; NaN if not measured."""
        return float(self.errors.test("neutral")[row]) if "neutral" in self.errors.test_names else math.nan

    def mean_of_others(self, row: int, name: str, without: frozenset[int] = frozenset()) -> float:
        """Return the mean of a statistic over other errors of equal margin; NaN with fewer than 20."""
        values = self._values_of_others(row, name, without)
        return float(values.mean()) if len(values) >= FEWEST_ERRORS else math.nan

    def _values_of_others(self, row: int, name: str, without: frozenset[int] = frozenset()) -> np.ndarray:
        """Return a statistic of the 100 nearest other errors, at most 0.5 further from the boundary."""
        pool, values = self._pool(name)
        away = self.margin[pool] - self.margin[row]
        allowed = (away <= CALIPER) & (self._source[pool] != self._source[row])  # False for NaN
        if without:
            allowed &= ~np.isin(pool, list(without))
        order = np.argsort(np.abs(away[allowed]), kind="stable")[:MOST_CONTROLS]
        return values[allowed][order]

    def _pool(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return the errors with a statistic, at most 500 at equal steps, and its values."""
        if name not in self._pools:
            values = self.errors.test(name) if name in BY_NAME else self.errors.sign(name)
            known = np.flatnonzero(np.isfinite(values))
            known = known[:: max(1, math.ceil(len(known) / _MOST_OTHERS))]
            self._pools[name] = known, values[known].astype(np.float64)
        return self._pools[name]
