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
from whywrong.verdicts.natural.maps import MAP_SIGNS
from whywrong.verdicts.natural.measuring import measure_maps
from whywrong.verdicts.natural.rules import FEWEST_CLASSES, FEWEST_REFERENCE, comparable, natural_findings
from whywrong.verdicts.stages.reference import Reference
from whywrong.verdicts.tests_of_causes import CauseTest


def with_natural_rules(
    context: AnalysisContext,
    cascade: Cascade,
    state: State,
    cases: Cases,
    verdicts: Sequence[Verdict],
    names: Sequence[str],
) -> tuple[list[Verdict], int]:
    """Replace the verdicts that no test supports by what the rules say.

    Args:
        context: Of the analysis.
        cascade: Its stages, which take what the rules need.
        state: What was measured; receives the passes.
        cases: The N errors.
        verdicts: Their verdicts so far.
        names: Names of the classes.

    Returns:
        The verdicts, and the passes spent on correct images.
    """
    reference = cascade.reference
    rows = np.array([row for row, one in enumerate(verdicts) if not one.stated], np.int64)
    few = len(reference.controls) < FEWEST_REFERENCE or len(names) < FEWEST_CLASSES
    if few or not reference.trial.steady or not len(rows) or not state.measured.logits.shape[1]:
        return list(verdicts), 0
    cascade.survive(state, cases, rows)
    errors = _errors(context, state, cases, rows)
    correct, passes = _correct(context, reference, errors)
    found = list(verdicts)
    for row, finding in zip(rows.tolist(), natural_findings(errors, correct), strict=True):
        if finding is None:
            continue
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
    return found, passes


def _errors(context: AnalysisContext, state: State, cases: Cases, rows: np.ndarray) -> Measured:
    """Measure the signs of errors, and count the passes."""
    some = state.measured.at(rows)
    signs, forwards, backwards = measure_maps(context, "natural rules", cases.at(rows), some.logits, "data")
    passes = state.measured.forwards.copy(), state.measured.backwards.copy()
    passes[0][rows] += forwards
    passes[1][rows] += backwards
    state.measured = replace(state.measured, forwards=passes[0], backwards=passes[1])
    state.passes["natural rules"] = int(forwards.sum() + backwards.sum())
    return _with_maps(some, signs)


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
