"""Evaluation on held-out nets, with calibration on the other nets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from whywrong.verdicts.causes import CLASSES
from whywrong.verdicts.combiner.calibration import prediction_sets, tempered
from whywrong.verdicts.combiner.evaluation import Figures, f1_of_causes, figures
from whywrong.verdicts.combiner.fit import calibrate, with_own_priors
from whywrong.verdicts.combiner.fit_scorer import FitConfig
from whywrong.verdicts.combiner.leave_out import Held, leave_one_net_out
from whywrong.verdicts.combiner.rows import Rows
from whywrong.verdicts.combiner.situation import SITUATIONS, Situation

_TREES, _ROUNDS = 60, 30  # enough for the evidence of one group


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Crossed:
    """Calibrated predictions in one situation.

    Attributes:
        held: Errors with a prediction in this situation.
        p: (N, 8) float64, calibrated probabilities for the class shares of the net's errors.
        truth: (N,) int64, true class; of two causes, the one with the higher probability.
        threshold: (N,) float64, threshold from the calibration for the net.
        sets: (N, 8) bool, prediction sets.
    """

    held: Held
    p: np.ndarray
    truth: np.ndarray
    threshold: np.ndarray
    sets: np.ndarray

    def figures(self, rows: np.ndarray | None = None) -> Figures:
        """Compute all metrics.

        Args:
            rows: (N,) bool, errors to include; all by default.
        """
        some = np.ones(len(self.p), dtype=bool) if rows is None else rows
        return figures(
            self.p[some],
            self.truth[some],
            classes=CLASSES,
            threshold=self.threshold[some],
            sets=self.sets[some],
            bystander=self.held.role[some] == "bystander",
        )


def cross_calibrated(held: Held, situation: Situation) -> Crossed:
    """Calibrate the predictions for each net with those for the other nets.

    Args:
        held: Predictions on several nets.
        situation: What is assumed to be available.
    """
    at = SITUATIONS.index(situation)
    held = held.at(np.isfinite(held.scores[at]).all(1))
    p, sets = np.zeros((len(held.truth), len(CLASSES))), np.zeros((len(held.truth), len(CLASSES)), dtype=bool)
    threshold = np.zeros(len(held.truth))
    alone = replace(held, scores=held.scores[at : at + 1])
    for net in np.unique(held.net):
        own = held.net == net
        found = calibrate(alone.at(~own) if (~own).any() else alone)
        p[own] = tempered(held.scores[at, own], found.temperature[0])
        threshold[own] = found.threshold[0]
        sets[own] = prediction_sets(p[own], found.levels[0])
    p = with_own_priors(p, held.net)
    return Crossed(held=held, p=p, truth=_credited(held, p), threshold=threshold, sets=sets)


def group_baselines(
    tables: Sequence[Rows],
    config: FitConfig,
    situation: Situation,
    only: Sequence[str] = (),
    *,
    not_tested: Sequence[str] = (),
) -> dict[str, tuple[float, float]]:
    """Compute macro-F1 with each group of evidence alone, with the same fits.

    Args:
        tables: Errors of several nets.
        config: Settings of the fits.
        situation: What is assumed to be available.
        only: Nets whose errors are evaluated; all by default.
        not_tested: Names of image sets whose errors are only used in training.

        Returns:
        Macro-F1 over the causes, and with ordinary errors, by group of evidence.
    """
    ordinary = CLASSES.index("ordinary")
    config = replace(config, copies=0, trees=min(config.trees, _TREES), rounds=min(config.rounds, _ROUNDS))
    found = {}
    for group in dict.fromkeys(tables[0].evidence.groups):
        alone = [_only(table, group) for table in tables]
        held = leave_one_net_out(alone, config, only, (situation,), not_tested=not_tested)
        held = held.at(np.isfinite(held.scores[0]).all(1))
        if len(held.truth):
            found[group] = f1_of_causes(held.scores[0], _credited(held, held.scores[0]), ordinary)
    return found


def _only(table: Rows, group: str) -> Rows:
    """Return rows with the evidence of one group, everything else being that of a typical reference image."""
    own = np.array(table.evidence.groups) == group
    evidence = replace(table.evidence, x=np.where(own, table.evidence.x, table.evidence.median).astype(np.float32))
    return replace(table, evidence=evidence)


def _credited(held: Held, p: np.ndarray) -> np.ndarray:
    """Return the true classes, of an error with two causes the likelier one."""
    truth = held.truth.copy()
    for row in np.flatnonzero(held.second != ""):
        second = CLASSES.index(str(held.second[row]))
        if p[row, second] > p[row, truth[row]]:
            truth[row] = second
    return truth
