"""Predict the errors of nets that train nothing."""

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
    """Uncalibrated predictions on errors of nets that trained nothing.

    Attributes:
        scores: (S, N, 8) float64, one per situation; NaN where the net has no helper.
        truth: (N,) int64.
        kind: (N,) kind of the cause.
        role: (N,) "plant", "double", "bystander" or "natural".
        second: (N,) second cause, empty without one.
        net: (N,) net of the error.
        data: (N,) name of the images.
    """

    scores: np.ndarray
    truth: np.ndarray
    kind: np.ndarray
    role: np.ndarray
    second: np.ndarray
    net: np.ndarray
    data: np.ndarray

    def at(self, rows: np.ndarray) -> Held:
        """Return some of the errors."""
        names = ("truth", "kind", "role", "second", "net", "data")
        return replace(self, scores=self.scores[:, rows], **{name: getattr(self, name)[rows] for name in names})


def leave_one_net_out(
    tables: Sequence[Rows],
    config: FitConfig,
    only: Sequence[str] = (),
    situations: Sequence[Situation] = SITUATIONS,
) -> Held:
    """Predict the errors of each net with a model of the other nets and of other images.

    Nets of its family, its helper, and nets that it helps do not train the model, and of the same images only the other
    half does.

    Args:
        tables: Errors of several nets.
        config: Settings of the fits.
        only: Nets whose errors are predicted; all by default.
        situations: What is assumed to be available, one set of predictions for each.
    """
    parts: list[Held] = []
    for table in tables:
        if only and table.net not in only:
            continue
        for half in np.unique(table.half):
            test = table.at(table.half == half)
            if training := training_tables(tables, table, int(half)):
                parts.append(_held(fit_scorer(training, config), test, situations))
    if not parts:
        raise InputError("at least two nets of different families are needed to leave one out")
    joined: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("truth", "kind", "role", "second", "net", "data")
    }
    return Held(scores=np.concatenate([part.scores for part in parts], axis=1), **joined)


def training_tables(tables: Sequence[Rows], test: Rows, half: int) -> list[Rows]:
    """Return the errors that may train a model for one half of the errors of a net."""
    found = []
    for table in tables:
        if table.family == test.family or table.net == test.helper or table.helper == test.net:
            continue
        some = table.at(table.half != half) if table.data == test.data else table
        if len(some):
            found.append(some)
    return found


def _held(scorer: Scorer, test: Rows, situations: Sequence[Situation]) -> Held:
    evidence = test.evidence
    scores = np.full((len(situations), len(test), len(CLASSES)), np.nan)
    for at, situation in enumerate(situations):
        if evidence.helpers or not situation.helper:
            scores[at] = scorer.predict(completed(evidence.x, evidence.median, evidence.columns, situation))
    return Held(
        scores=scores,
        truth=test.truth,
        kind=test.kind,
        role=test.role,
        second=test.second,
        net=np.full(len(test), test.net),
        data=np.full(len(test), test.data),
    )
