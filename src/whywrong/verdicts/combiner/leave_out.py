"""Predict the causes of errors of held-out nets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from whywrong.core.errors import InputError
from whywrong.verdicts.causes import CLASSES
from whywrong.verdicts.combiner.fit_scorer import FitConfig, fit_scorer
from whywrong.verdicts.combiner.rows import Rows
from whywrong.verdicts.combiner.scorer import Scorer
from whywrong.verdicts.combiner.situation import SITUATIONS, Situation, completed


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Held:
    """Uncalibrated predictions for errors of held-out nets.

    Attributes:
        scores: (S, N, 8) float64, probabilities per situation; NaN if the net has no helper, or if no error of the same
            cause may be used in training.
        truth: (N,) int64.
        kind: (N,) kind of the cause.
        role: (N,) "plant", "double", "bystander" or "natural".
        second: (N,) second cause, empty if there is none.
        net: (N,) net of the error.
        data: (N,) name of the image set.
    """

    scores: np.ndarray
    truth: np.ndarray
    kind: np.ndarray
    role: np.ndarray
    second: np.ndarray
    net: np.ndarray
    data: np.ndarray

    def at(self, rows: np.ndarray) -> Held:
        """Return the errors with the given indices or mask."""
        names = ("truth", "kind", "role", "second", "net", "data")
        return replace(self, scores=self.scores[:, rows], **{name: getattr(self, name)[rows] for name in names})


def leave_one_net_out(
    tables: Sequence[Rows],
    config: FitConfig,
    only: Sequence[str] = (),
    situations: Sequence[Situation] = SITUATIONS,
    *,
    not_tested: Sequence[str] = (),
) -> Held:
    """Predict the errors of each net with combiners fitted to the other nets.

    The training excludes nets of the same family and, of the same image set, the same half of the photographs. With a
    helper, it also excludes the errors of the helper net, and errors for which the tested net was the helper are used
    without its predictions.

    Args:
        tables: Errors of several nets.
        config: Settings of the fits.
        only: Nets whose errors are predicted; all by default.
        not_tested: Names of image sets whose errors are only used in training.
        situations: Assumptions about the available evidence; each gives one set of predictions.
    """
    parts: list[Held] = []
    for table in tables:
        tests = (not only or table.net in only) and table.data not in not_tested
        for half in np.unique(table.half) if tests else ():
            scorers = _scorers(tables, table, int(half), config, situations)
            if any(scorer is not None for scorer in scorers):
                parts.append(_held(scorers, table.at(table.half == half), situations))
    if not parts:
        raise InputError("at least two nets of different families are needed to leave one out")
    joined: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("truth", "kind", "role", "second", "net", "data")
    }
    return Held(scores=np.concatenate([part.scores for part in parts], axis=1), **joined)


def training_tables(tables: Sequence[Rows], test: Rows, half: int, *, helper: bool) -> list[Rows]:
    """Return the training errors for one half of the errors of a net.

    Args:
        tables: Errors of several nets.
        test: Errors of the tested net.
        half: Half of the photographs that is predicted.
        helper: Whether the predictions of the helper are used.
    """
    found = []
    for table in tables:
        asks = table.helper == test.net
        if table.family == test.family or (helper and table.net == test.helper):
            continue
        some = table.at(table.half != half) if table.data == test.data else table
        if len(some):
            found.append(some.without_helper() if asks else some)
    return found


def _scorers(
    tables: Sequence[Rows], test: Rows, half: int, config: FitConfig, situations: Sequence[Situation]
) -> list[Scorer | None]:
    """Return the model for each situation, None where nothing may train it."""
    found: list[Scorer | None] = []
    fitted: dict[tuple[tuple[str, bool], ...], Scorer | None] = {(): None}
    for situation in situations:
        training = training_tables(tables, test, half, helper=situation.helper)
        key = tuple((table.net, table.evidence.helpers > 0) for table in training)
        if key not in fitted:
            fitted[key] = fit_scorer(training, config)
        found.append(fitted[key])
    return found


def _held(scorers: Sequence[Scorer | None], test: Rows, situations: Sequence[Situation]) -> Held:
    evidence = test.evidence
    scores = np.full((len(situations), len(test), len(CLASSES)), np.nan)
    for at, (situation, scorer) in enumerate(zip(situations, scorers, strict=True)):
        if scorer is not None and (evidence.helpers or not situation.helper):
            scores[at] = scorer.predict(completed(evidence.x, evidence.median, evidence.columns, situation))
            scores[at, ~np.isin(test.truth, scorer.trained)] = np.nan
    return Held(
        scores=scores,
        truth=test.truth,
        kind=test.kind,
        role=test.role,
        second=test.second,
        net=np.full(len(test), test.net),
        data=np.full(len(test), test.data),
    )
