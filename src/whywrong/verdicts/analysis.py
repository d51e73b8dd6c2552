"""The analysis ``verdict``, which finds and tests the cause of each error of a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from whywrong.core.errors import DataError
from whywrong.explain.analysis import AnalysisContext
from whywrong.verdicts.advice import Advice, Run, advice_on_groups
from whywrong.verdicts.cascade import Cascade, State
from whywrong.verdicts.cases.cases import Cases, errors_of, reference_of
from whywrong.verdicts.cases.helpers import Helper, match_helper, repeats_the_model
from whywrong.verdicts.cases.predicting import predict_images
from whywrong.verdicts.cases.predictions import SQL, Predictions, check_usable, read_predictions
from whywrong.verdicts.combiner.model import Combiner
from whywrong.verdicts.combiner.stored import SHIPPED, combiner_hash, shipped
from whywrong.verdicts.config import VerdictConfig
from whywrong.verdicts.decide import Verdict, decide
from whywrong.verdicts.groups import Group
from whywrong.verdicts.measure import Measures, last_layer_of
from whywrong.verdicts.measured import Measured
from whywrong.verdicts.natural.cut_group import cut_group
from whywrong.verdicts.natural.step import with_natural_rules
from whywrong.verdicts.result import VerdictResult
from whywrong.verdicts.stages.copies import with_shared_sources
from whywrong.verdicts.stages.grouping import Combined, Seen, find_groups, test_groups
from whywrong.verdicts.stages.harmless import names_of
from whywrong.verdicts.stages.reference import STAGES, Reference, make_reference
from whywrong.verdicts.stages.units import Taken, take
from whywrong.verdicts.telling.groups import TestedGroups
from whywrong.verdicts.telling.record import Facts
from whywrong.verdicts.telling.rows import Common, intervention_rows, sign_rows, unmeasured_row, verdict_row
from whywrong.verdicts.telling.shown import what_is_shown
from whywrong.verdicts.tests_of_causes import CauseTest, CauseTests, run_tests


def verdict(context: AnalysisContext, *, config: VerdictConfig) -> VerdictResult:
    """Find and test the causes of errors, group the errors, and measure actions.

    Args:
        context: Context of an analysis in a run folder. Its image set ``data`` has the images of the run. An optional
            set ``reference`` replaces the correct images of the run in comparisons. Its models are helpers. Its input
            ``combiner`` replaces the combiner of the package.
        config: Settings.

    Raises:
        InputError: The folder has no run, nearly all images are misclassified, or a helper has other classes.
        DataError: The run has no predictions, or no image can be read.
    """
    names = context.query("select name from classes order by index")["name"].to_pylist()
    predictions = read_predictions(context.query(SQL), names)
    if not config.force:
        check_usable(predictions)
    return _Analysis(context, config, predictions).run()


class _Analysis:
    """One call of :func:`verdict`."""

    def __init__(self, context: AnalysisContext, config: VerdictConfig, predictions: Predictions) -> None:
        self.context, self.config, self.predictions = context, config, predictions
        self.facts = Facts()
        self.cases = errors_of(predictions)
        self.combiner = self._find_combiner()
        self.helpers = self._match_helpers()

    def run(self) -> VerdictResult:
        """Measure, combine, test, decide and tell."""
        count = len(self.cases)
        if not count:
            self.facts.notes.append("no image is misclassified, so there is nothing to explain")
            return VerdictResult({}, self.facts.record(0))
        if self.config.depth == "free":
            self.facts.lacks.append("measurements of the images (depth free)")
            return self._without_measurements()
        basics = Measures(basics=True, signs=STAGES[0], pictures=True)
        first = take(self.context, "stage 1", self.cases, basics, seed=self.config.seed, helpers=self.helpers)
        self.facts.failed = first.failed
        if first.measured is None:
            reason = next(iter(first.failed.values()))
            raise DataError(f"none of {count} misclassified images can be measured; the first: {reason}")
        return self._measured(first, first.measured)

    def _measured(self, first: Taken, measured: Measured) -> VerdictResult:
        cases = self.cases.at(first.rows)
        reference = self._reference(measured)
        first = with_shared_sources(first, reference.first)
        measured = replace(measured, sources=(first.measured or measured).sources)
        measured, reference = self._without_repeating_helpers(measured, reference)
        cascade = Cascade(self.context, self.config, reference, self.combiner)
        state = cascade.begin(measured)
        cascade.go_on(state, cases)
        cascade.test(state, cases)
        tests = CauseTests(state.measured, reference.controls, state.given)
        of_errors = run_tests(state.measured, reference.controls, state.tested, state.given)
        verdicts = decide(state, of_errors, _helpers_agree(state.measured))
        groups = self._groups(first, cases, state, reference, tests)
        verdicts = groups.support(verdicts, state, tests, self.config.seed)
        names = self.predictions.names
        verdicts, findings, passes = with_natural_rules(self.context, cascade, state, cases, verdicts, names)
        cut = cut_group(findings, cases, groups.groups, int(self.predictions.wrong.sum()))
        if cut:
            groups = groups.joined(cut, self._advice("advice on crops", cut, state, reference))
        reference = replace(reference, passes=reference.passes + passes)
        if state.prediction:
            last = state.prediction[max(state.prediction)]
            self.facts.notes += [last.note] if last.note else []
        return self._result(cases, state, reference, of_errors, verdicts, groups)

    def _groups(
        self, first: Taken, cases: Cases, state: State, reference: Reference, tests: CauseTests
    ) -> TestedGroups:
        last = last_layer_of(self.context.classifier, self._shape)
        weights = np.zeros((0, 0), np.float32) if last is None else last.weight.cpu().numpy()
        seen = Seen.of(first, reference.first, weights)
        combined = Combined(state.measured, reference.measured, state.probabilities()) if state.prediction else None
        found = find_groups(self.predictions, seen, state.recurrence, combined)
        tested, outcomes = test_groups(found, tests, self.config.seed)
        advice: dict[int, list[Advice]] = {}
        if len(reference.measured):
            advice = self._advice("advice", tested, state, reference)
        return TestedGroups.of(tested, outcomes, advice)

    def _advice(
        self, step: str, groups: Sequence[Group], state: State, reference: Reference
    ) -> dict[int, list[Advice]]:
        errors, correct = state.measured, reference.measured
        run = Run(
            errors=errors,
            reference=correct,
            recurrence=state.recurrence,
            entries=self.context.entries(errors.item_ids),
            pool=self.context.entries(correct.item_ids, reference.images),
            correct=len(reference.correct),
            images=("data", reference.images),
            seed=self.config.seed,
        )
        place = {item: row for row, item in enumerate(errors.item_ids)}
        members = {
            at: (group.cause, [place[item] for item in group.members if item in place])
            for at, group in enumerate(groups)
        }
        return advice_on_groups(self.context, step, run, members)

    @property
    def _shape(self) -> tuple[int, int, int]:
        spec = self.context.images["data"].spec
        return spec.channels, spec.height, spec.width

    def _find_combiner(self) -> Combiner | None:
        combiner: Combiner | None = self.context.inputs.get("combiner")
        if combiner is None and SHIPPED.exists():
            combiner = shipped()
        if combiner is None:
            self.facts.lacks.append("a combiner, so no probability is given")
            return None
        self.facts.combiner = {"hash": combiner_hash(combiner)[:12], **combiner.facts}
        return combiner

    def _match_helpers(self) -> list[Helper]:
        """Match the classes of the helpers; one that is the model itself is not asked."""
        classes = self.context.images["data"].classes
        found = []
        for position, model in enumerate(self.context.models):
            title = str(getattr(model.recipe, "model", None) or model.title or f"number {position + 1}")
            if model.identity == self.context.classifier.identity:
                self._refuse_helper(title, model.identity, "it is the model itself")
                continue
            found.append(match_helper(model, classes, title, position))
        if not found:
            self.facts.lacks.append("another model (--helper)")
        return found

    def _refuse_helper(self, title: str, identity: str, reason: str) -> None:
        self.facts.helpers.append({"title": title, "identity": identity, "used": False, "reason": reason})
        self.facts.notes.append(f"helper {title}: {reason}, so it is no further opinion and is left out")

    def _reference(self, measured: Measured) -> Reference:
        images = "reference" if "reference" in self.context.images else "data"
        predictions = self.predictions
        if images == "reference":
            predictions = predict_images(self.context, images, predictions.names)
        reference = make_reference(self.context, self.config, predictions, measured, images, self.helpers)
        if not len(reference.measured):
            least = self.config.no_reference
            self.facts.lacks.append(f"correct images to compare with: {len(reference.correct)} of at least {least}")
        trial = reference.trial
        if trial.harmful:
            self.facts.notes.append(f"{names_of(trial.harmful)} changes what these images show, and is not tried")
        if not trial.steady:
            self.facts.lacks.append(f"survival of small changes: {trial.reason()}")
        if len(np.unique(reference.correct.label)) == 1:
            self.facts.lacks.append(
                f"correct images of another class than {predictions.names[reference.correct.label[0]]}"
            )
        return reference

    def _without_repeating_helpers(self, measured: Measured, reference: Reference) -> tuple[Measured, Reference]:
        """Leave out helpers that answer as the model does."""
        kept = []
        predicted = np.concatenate([measured.predicted, reference.measured.predicted])
        for at, helper in enumerate(self.helpers):
            logits = np.concatenate([measured.helper_logits[at], reference.measured.helper_logits[at]])
            if repeats_the_model(logits.argmax(1), predicted):
                self._refuse_helper(helper.title, helper.identity, "it answers as the model does")
            else:
                kept.append(at)
                self.facts.helpers.append({"title": helper.title, "identity": helper.identity, "used": True})
        self.helpers = [self.helpers[at] for at in kept]
        chosen = np.array(kept, np.int64)

        def asked(one: Measured) -> Measured:
            return replace(one, helper_logits=one.helper_logits[chosen])

        both = {"measured": asked(reference.measured), "controls": asked(reference.controls)}
        return asked(measured), replace(reference, **both)

    def _common(self) -> Common:
        combiner = self.facts.combiner
        return Common(
            access=self.context.classifier.access,
            helpers=tuple(helper.identity for helper in self.helpers),
            combiner=None if combiner is None else combiner["hash"],
            lacks=tuple(self.facts.lacks),
        )

    def _without_measurements(self) -> VerdictResult:
        pictures = Measures(pictures=True)
        errors = take(self.context, "pictures", self.cases, pictures, seed=self.config.seed)
        count = {"most": self.config.reference_images, "least": self.config.least_reference}
        correct = reference_of(self.predictions, len(self.cases), seed=self.config.seed, **count)
        beside = take(self.context, "reference pictures", correct, pictures, seed=self.config.seed)
        errors = with_shared_sources(errors, beside)
        found = find_groups(self.predictions, Seen.of(errors, beside, np.zeros((0, 0), np.float32)), None)
        groups = TestedGroups.of(found, [None] * len(found), {})
        reasons = {item: errors.failed.get(item, "nothing was measured (depth free)") for item in self.cases.item_ids}
        rows = [
            unmeasured_row(self.cases, row, reasons[item], groups.of_item(item), self._common())
            for row, item in enumerate(self.cases.item_ids)
        ]
        tables = {"verdicts": self._with_twins(rows), **groups.tables(self.predictions.names)}
        self.facts.failed = errors.failed
        return VerdictResult(tables, self.facts.record(len(self.cases)))

    def _result(
        self,
        cases: Cases,
        state: State,
        reference: Reference,
        tests: Sequence[Sequence[CauseTest]],
        verdicts: Sequence[Verdict],
        groups: TestedGroups,
    ) -> VerdictResult:
        common = self._common()
        sentences = [groups.sentence_of(item) for item in cases.item_ids]
        shown = what_is_shown(state, reference.measured, self.predictions.names, sentences)
        rows = [
            verdict_row(row, cases, state, one, shown[row], groups.of_item(cases.item_ids[row]), common)
            for row, one in enumerate(verdicts)
        ] + list(self._failed_rows(groups, common))
        tables: dict[str, list[dict[str, Any]]] = {
            "verdicts": self._with_twins(rows),
            "signs": list(sign_rows(cases, state.measured, reference, common.access, self._shape)),
            "interventions": list(intervention_rows(cases, tests)),
            **groups.tables(self.predictions.names),
        }
        return VerdictResult(tables, self.facts.full_record(len(self.cases), state, reference, verdicts))

    def _failed_rows(self, groups: TestedGroups, common: Common) -> Iterator[dict[str, Any]]:
        for row, item in enumerate(self.cases.item_ids):
            if item in self.facts.failed:
                yield unmeasured_row(self.cases, row, self.facts.failed[item], groups.of_item(item), common)

    def _with_twins(self, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Add the errors that have the content and the label of another, which costs nothing, and sort by item."""
        of_item = {row["item_id"]: row for row in rows}
        wrong = self.predictions.at(self.predictions.wrong & ~self.predictions.distinct)
        twins = [
            of_item[first] | {"item_id": item, "forwards": 0, "backwards": 0}
            for item, first in zip(wrong.item_ids, wrong.same_as, strict=True)
            if first in of_item
        ]
        return sorted([*rows, *twins], key=lambda row: row["item_id"])


def _helpers_agree(measured: Measured) -> np.ndarray:
    """Test which errors (N,) every helper predicts as the model does; none without helpers."""
    if not measured.helper_logits.size:
        return np.zeros(len(measured), bool)
    return (measured.helper_logits.argmax(2) == measured.predicted).all(0)
