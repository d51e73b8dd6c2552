"""Measure errors in stages, until their cause is clear.

All errors get the first stage. Errors whose largest calibrated probability is below a threshold get further stages. The
most probable cause is tested in any case. Source: ours, docs/guides/verdict.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from whywrong.explain.analysis import AnalysisContext
from whywrong.verdicts.cases.cases import Cases
from whywrong.verdicts.causes import CLASSES, ORDINARY
from whywrong.verdicts.combiner.model import Combiner
from whywrong.verdicts.combiner.prediction import Prediction
from whywrong.verdicts.config import VerdictConfig
from whywrong.verdicts.damage import diagnose_damage
from whywrong.verdicts.evidence import Evidence, assemble
from whywrong.verdicts.measure import Measures, add
from whywrong.verdicts.measured import Measured
from whywrong.verdicts.recurrence import Recurrence, recurrence
from whywrong.verdicts.stages.giving import GIVEN, Receivers, boxes_of_places, give
from whywrong.verdicts.stages.reference import STAGES, TAKEN_AWAY, Reference
from whywrong.verdicts.stages.units import take
from whywrong.verdicts.tests_of_causes import Given

LEAST_OTHERS = 40  # errors that get every test, so that an error can be compared with others of equal margin
OTHERS_SHARE = 0.3
POSSIBLE = 0.1  # probability from which a cause of an unclear error is tested


@dataclass(slots=True, eq=False)
class State:
    """Measurements and predictions of the N errors that could be measured.

    Attributes:
        measured: All measurements so far.
        stage: (N,) int64, last stage that measured each error.
        recurrence: Content that recurs among the errors.
        evidence: Evidence on all errors, by stage.
        prediction: Calibrated causes of all errors, by stage; empty without a combiner.
        passes: Number of passes, by name of the step.
        tested: Causes tested for each error.
        given: Result of adding a cause to correct images, by cause.
    """

    measured: Measured
    stage: np.ndarray
    recurrence: Recurrence
    evidence: dict[int, Evidence] = field(default_factory=dict)
    prediction: dict[int, Prediction] = field(default_factory=dict)
    passes: dict[str, int] = field(default_factory=dict)
    tested: list[tuple[str, ...]] = field(default_factory=list)
    given: dict[str, Given] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.measured)

    def of_last_stage(self, value: Callable[[Prediction, int], object]) -> list[object]:
        """Return the value of an attribute in the last prediction of each error."""
        return [value(self.prediction[int(stage)], row) for row, stage in enumerate(self.stage)]

    def probabilities(self) -> np.ndarray:
        """Return the calibrated probabilities (N, 8) after the last stage of each error.

        Without a combiner, all causes have equal probability."""
        if not self.prediction:
            return np.full((len(self), len(CLASSES)), 1 / len(CLASSES))
        return np.array(self.of_last_stage(lambda one, row: one.probability[row]))


class Cascade:
    """The stages of one analysis.

    Args:
        context: Context of the analysis.
        config: Settings.
        reference: Correct images.
        combiner: Combines the evidence; None without one.
    """

    def __init__(
        self,
        context: AnalysisContext,
        config: VerdictConfig,
        reference: Reference,
        combiner: Combiner | None,
    ) -> None:
        self.context, self.config, self.reference, self.combiner = context, config, reference, combiner

    def begin(self, measured: Measured) -> State:
        """Start with the evidence of the first stage, which all errors have."""
        state = State(measured, np.ones(len(measured), np.int64), recurrence(measured))
        state.passes["stage 1"] = int((measured.forwards + measured.backwards).sum())
        self._combine(state, 1)
        return state

    def go_on(self, state: State, cases: Cases) -> None:
        """Measure the second and third stage for the errors that need them."""
        for stage in (2, 3):
            rows = self._due(state, stage)
            if len(rows):
                name, measures = f"stage {stage}", Measures(signs=STAGES[stage - 1])
                done = self._take(state, cases, rows, name, [measures] * len(rows))
                state.stage[done] = stage
            if (state.stage == stage).any():
                self._combine(state, stage)

    def test(self, state: State, cases: Cases) -> None:
        """Test the most probable causes, at depth ``standard`` other possible ones as well."""
        state.tested = self._causes_to_test(state)
        wanted = [set(causes) for causes in state.tested]
        every = sorted(set().union(*wanted)) if wanted else []
        for row in self._others(state):
            wanted[row] |= set(every)
        measures, rows = [], []
        for row, causes in enumerate(wanted):
            tests = tuple(cause for cause in TAKEN_AWAY if cause in causes)
            signs = ("survival",) if "label" in causes and state.stage[row] < 2 else ()
            if tests or signs:
                rows.append(row)
                measures.append(Measures(tests=tests, signs=signs))
        if rows:
            self._take(state, cases, np.array(rows), "tests", measures)
        self._give(state, cases)

    def survive(self, state: State, cases: Cases, rows: np.ndarray) -> None:
        """Measure small changes of the rows that lack them, without changing their stage."""
        missing = rows[np.isnan(state.measured.sign("survival_label")[rows])]
        if len(missing):
            self._take(state, cases, missing, "small changes", [Measures(signs=("survival",))] * len(missing))

    def _give(self, state: State, cases: Cases) -> None:
        """Give the causes that are tested so to correct images."""
        boxes = boxes_of_places(state.recurrence.place)
        for cause in GIVEN:
            wanted = np.array([cause in causes for causes in state.tested], bool)
            if cause == "spurious":
                wanted &= np.isfinite(boxes).all(1)
            if wanted.any() and len(self.reference.correct):
                receivers = Receivers(self.reference.correct, self.reference.images, self.config.seed)
                given, passes = give(self.context, cause, cases, np.flatnonzero(wanted), boxes, receivers)
                state.given[cause] = given
                state.measured = replace(state.measured, forwards=state.measured.forwards + passes)
                state.passes[f"give {cause}"] = int(passes.sum())

    def _take(
        self, state: State, cases: Cases, rows: np.ndarray, name: str, measures: Sequence[Measures]
    ) -> np.ndarray:
        measures = [self.reference.trial.applied(one) for one in measures]
        logits = state.measured.logits[rows]
        taken = take(self.context, name, cases.at(rows), measures, seed=self.config.seed, logits=logits)
        if taken.measured is None:
            return rows[:0]
        done = rows[taken.rows]
        state.measured = add(state.measured, done, taken.measured)
        state.passes[name] = int((taken.measured.forwards + taken.measured.backwards).sum())
        return done

    def _combine(self, state: State, stage: int) -> None:
        names = tuple(name for signs in STAGES[:stage] for name in signs)
        evidence = assemble(state.measured, self.reference.measured, state.recurrence, stages=names)
        state.evidence[stage] = evidence
        if self.combiner is not None:
            state.prediction[stage] = self.combiner.predict(evidence)

    def _due(self, state: State, stage: int) -> np.ndarray:
        """Return the errors that get a stage, (M,) int64."""
        if self.config.depth == "standard":
            return np.arange(len(state)) if self.combiner is not None or stage == 2 else np.zeros(0, np.int64)
        if self.combiner is None:
            return np.zeros(0, np.int64)
        p = state.probabilities()
        rows = np.flatnonzero((p.max(1) < self.config.sure) & (state.stage == stage - 1))
        entropy = -(p * np.log(np.maximum(p, 1e-12))).sum(1)[rows]
        return np.sort(rows[np.argsort(-entropy, kind="stable")[: self._affordable(state, stage)]])

    def _affordable(self, state: State, stage: int) -> int:
        """Return how many errors can get a stage within the mean number of passes; tests come first."""
        each, tests = self.reference.cost[stage - 1], self.reference.cost[-1]
        left = len(state) * (self.config.quick_passes - tests) - sum(state.passes.values())
        return max(int(left / each), 0) if each > 0 else len(state)

    def _causes_to_test(self, state: State) -> list[tuple[str, ...]]:
        """Return the causes to test of each error, the likeliest first."""
        most = self.config.tested_causes
        if not state.prediction:
            return _suspected(state, self.reference.measured, most)
        found = []
        for p in state.probabilities():
            order = [int(k) for k in np.argsort(-p, kind="stable") if CLASSES[k] != ORDINARY]
            quick = self.config.depth == "quick"
            rest = [] if quick else [k for k in order[1:most] if p[k] >= POSSIBLE]
            found.append(tuple(CLASSES[k] for k in (order[0], *rest)))
        return found

    def _others(self, state: State) -> np.ndarray:
        """Draw the errors that get every test, so that others can be compared with them."""
        count = min(len(state), max(LEAST_OTHERS, int(OTHERS_SHARE * len(state))))
        draw = np.random.default_rng(self.config.seed).permutation(len(state))
        return np.sort(draw[:count])


def _suspected(state: State, reference: Measured, most: int) -> list[tuple[str, ...]]:
    """Return the causes to test without a combiner, from what the images show."""
    damage = diagnose_damage(state.measured, reference)
    found = []
    for row in range(len(state)):
        causes = ["spurious"] if state.recurrence.cluster[row] >= 0 else []
        causes += ["corruption"] if damage[row] else []
        found.append(tuple([*causes, "adversarial"][:most]))
    return found
