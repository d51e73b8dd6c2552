"""Apply the rules for natural errors to the errors of a run whose cause no test supports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from whywrong.explain.analysis import AnalysisContext
from whywrong.verdicts.cascade import Cascade, State
from whywrong.verdicts.cases.cases import Cases
from whywrong.verdicts.decide import Verdict
from whywrong.verdicts.measured import Measured
from whywrong.verdicts.natural.maps import MAP_SIGNS, MAPS, WHOLE
from whywrong.verdicts.natural.measuring import measure_maps
from whywrong.verdicts.natural.rules import (
    FEWEST_CLASSES,
    FEWEST_REFERENCE,
    NaturalFinding,
    comparable,
    natural_findings,
    possible_findings,
    undecided,
)
from whywrong.verdicts.stages.reference import Reference
from whywrong.verdicts.tests_of_causes import CauseTest


def with_natural_rules(
    context: AnalysisContext,
    cascade: Cascade,
    state: State,
    cases: Cases,
    verdicts: Sequence[Verdict],
    names: Sequence[str],
) -> tuple[list[Verdict], dict[int, NaturalFinding], int]:
    """Replace the verdicts that no test supports by what the rules say.

    Args:
        context: Of the analysis.
        cascade: Its stages, which take what the rules need.
        state: What was measured; receives the passes.
        cases: The N errors.
        verdicts: Their verdicts so far.
        names: Names of the classes.

    Returns:
        The verdicts; by row, what the rules say; and the passes spent on correct images.
    """
    reference = cascade.reference
    rows = np.array([row for row, one in enumerate(verdicts) if not one.stated], np.int64)
    few = len(reference.controls) < FEWEST_REFERENCE or len(names) < FEWEST_CLASSES
    if few or not reference.trial.steady or not len(rows) or not state.measured.logits.shape[1]:
        return list(verdicts), {}, 0
    correct, passes = _correct(context, reference, state.measured.at(rows))
    errors = _errors(context, cascade, state, cases, rows, correct)
    found = list(verdicts)
    pairs = zip(rows.tolist(), natural_findings(errors, correct), strict=True)
    findings = {row: finding for row, finding in pairs if finding is not None}
    for row, finding in findings.items():
        classes = {"label": names[int(cases.label[row])], "predicted": names[int(cases.predicted[row])]}
        found[row] = replace(
            verdicts[row],
            cause=finding.cause,
            kind=finding.kind,
            stated=finding.stated,
            leading=finding.cause,
            reason="" if finding.stated else "no test supports it",
            test=CauseTest(
                cause=finding.cause, name=finding.kind, outcome="supported" if finding.stated else "untested"
            ),
            natural=finding.sentence.format(**classes),
            natural_for=tuple(text.format(**classes) for text in finding.for_text),
            natural_against=tuple(text.format(**classes) for text in finding.against_text),
        )
    return found, findings, passes


def _errors(
    context: AnalysisContext, cascade: Cascade, state: State, cases: Cases, rows: np.ndarray, reference: Measured
) -> Measured:
    """Measure the signs of errors, the costly ones only where a rule needs them, and count the passes."""

    def measured(step: str, rows: np.ndarray, parts: tuple[str, ...], place: np.ndarray | None = None) -> np.ndarray:
        logits = state.measured.logits[rows]
        signs, forwards, backwards = measure_maps(context, step, cases.at(rows), logits, "data", parts, place)
        passes = state.measured.forwards.copy(), state.measured.backwards.copy()
        passes[0][rows] += forwards
        passes[1][rows] += backwards
        state.measured = replace(state.measured, forwards=passes[0], backwards=passes[1])
        state.passes[step] = int(forwards.sum() + backwards.sum())
        return signs

    signs = measured("natural rules", rows, (MAPS, WHOLE))
    place = signs[:, [MAP_SIGNS.index("label_down"), MAP_SIGNS.index("label_across")]]
    possible = possible_findings(_with_maps(state.measured.at(rows), signs), reference)
    cascade.survive(state, cases, rows[possible])
    errors = state.measured.at(rows)
    for part, some in undecided(_with_maps(errors, signs), reference).items():
        if len(some):
            more = measured(f"natural rules {part}", rows[some], (part,), place[some])
            signs[some] = np.where(np.isnan(more), signs[some], more)
    return _with_maps(errors, signs)


def _correct(context: AnalysisContext, reference: Reference, errors: Measured) -> tuple[Measured, int]:
    """Measure the signs of the correct images that the errors are compared with, and count the passes."""
    everyone = reference.controls
    rows = comparable(errors, everyone)
    signs = np.full((len(everyone), len(MAP_SIGNS)), np.nan, np.float32)
    some = everyone.at(rows)
    cases = Cases(some.item_ids, some.sources, some.label, some.predicted)
    signs[rows], forwards, backwards = measure_maps(
        context, "reference natural rules", cases, some.logits, reference.images
    )
    return _with_maps(everyone, signs), int(forwards.sum() + backwards.sum())


def _with_maps(measured: Measured, signs: np.ndarray) -> Measured:
    return replace(
        measured,
        sign_names=(*measured.sign_names, *MAP_SIGNS),
        signs=np.concatenate([measured.signs, signs], axis=1),
    )
