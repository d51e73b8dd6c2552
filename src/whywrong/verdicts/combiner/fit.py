"""Fit the combiner to errors with known causes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from whywrong.core.errors import InputError
from whywrong.verdicts.causes import CLASSES, ORDINARY
from whywrong.verdicts.combiner.calibration import (
    conformal_levels,
    estimate_prior,
    fit_temperature,
    fit_threshold,
    tempered,
    with_prior,
)
from whywrong.verdicts.combiner.fit_scorer import FitConfig, fit_scorer, for_table
from whywrong.verdicts.combiner.leave_out import Held
from whywrong.verdicts.combiner.model import Combiner
from whywrong.verdicts.combiner.plants import Plants
from whywrong.verdicts.combiner.rows import Rows
from whywrong.verdicts.combiner.scorer import Scorer
from whywrong.verdicts.combiner.situation import FULL, SITUATIONS, available, completed


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Calibration:
    """Calibration of S situations.

    Attributes:
        temperature: (S,) float64, temperatures; 1 for situations without predictions.
        threshold: (S,) float64, smallest probability of a stated cause; 0.99 for situations without predictions.
        levels: (S, 8) float64, largest scores in prediction sets.
    """

    temperature: np.ndarray
    threshold: np.ndarray
    levels: np.ndarray


def calibrate(held: Held) -> Calibration:
    """Fit temperature, threshold and set levels on held-out predictions.

    Args:
        held: Predictions in S situations.
    """
    count = len(held.scores)
    temperature, threshold, levels = np.ones(count), np.full(count, 0.99), np.ones((count, len(CLASSES)))
    for at in range(count):
        there = np.isfinite(held.scores[at]).all(1)
        if not there.any():
            continue
        scores, truth = held.scores[at, there], held.truth[there]
        temperature[at] = fit_temperature(scores, truth)
        p = tempered(scores, temperature[at])
        levels[at] = conformal_levels(p, truth)
        adapted, beside = with_own_priors(p, held.net[there]), held.role[there] == "bystander"
        threshold[at] = fit_threshold(adapted, truth, CLASSES.index(ORDINARY), bystander=beside)
    return Calibration(temperature=temperature, threshold=threshold, levels=levels)


def with_own_priors(p: np.ndarray, net: np.ndarray) -> np.ndarray:
    """Convert probabilities to the class shares of each net's errors.

    Args:
        p: (N, 8) calibrated probabilities for equal class shares.
        net: (N,) net of each error.
    """
    found = p.copy()
    for name in np.unique(net):
        found[net == name] = with_prior(p[net == name], estimate_prior(p[net == name]))
    return found


def fit_combiner(tables: Sequence[Rows], held: Held, config: FitConfig, facts: Mapping[str, Any]) -> Combiner:
    """Fit the combiner on all nets, with calibration on predictions for held-out nets.

    Args:
        tables: Errors of several nets, with the same columns of evidence.
        held: Result of :func:`leave_one_net_out` for the same tables.
        config: Settings.
        facts: Facts for the header, on nets, images, licences and metrics.
    """
    columns = tables[0].evidence.columns
    for table in tables:
        if table.evidence.columns != columns:
            raise InputError(f"the evidence of {table.net} has other columns than that of {tables[0].net}")
    scorer = fit_scorer(tables, config)
    plants = _plants(tables, scorer, config)
    calibration = calibrate(held)
    allowed = [available(columns, situation) for situation in SITUATIONS]
    names, low, high = _ranges(tables)
    return Combiner(
        columns=columns,
        scorer=scorer,
        temperature=calibration.temperature,
        threshold=calibration.threshold,
        levels=calibration.levels,
        unseen=np.array([plants.unseen_limit(some) for some in allowed]),
        plants=plants,
        reference_names=names,
        reference_low=low,
        reference_high=high,
        facts=facts,
    )


def _plants(tables: Sequence[Rows], scorer: Scorer, config: FitConfig) -> Plants:
    """Keep errors of the training, equally many of each cause and kind as far as possible."""
    x = np.concatenate(
        [completed(t.evidence.x, t.evidence.median, t.evidence.columns, for_table(t, FULL)) for t in tables]
    )
    truth, kind = (np.concatenate([getattr(table, name) for table in tables]) for name in ("truth", "kind"))
    order = np.random.default_rng(config.seed).permutation(len(x))
    # The turn of an error among those of its cause and kind: the first of each come before the second of each.
    seen: dict[tuple[int, str], int] = {}
    turn = np.empty(len(x), np.int64)
    for row in order:
        key = (int(truth[row]), str(kind[row]))
        turn[row] = seen[key] = seen.get(key, -1) + 1
    kept = np.sort(order[np.argsort(turn[order], kind="stable")][: config.plants])
    z = scorer.standardised(x[kept])[:, : len(tables[0].evidence.names)]
    return Plants(z=np.clip(z, -100, 100).astype(np.float16), cause=truth[kept].astype(np.int16), kind=kind[kept])


def _ranges(tables: Sequence[Rows]) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """Return the range of the references' signs, from the least 5 % to the largest 95 % quantile of a net."""
    low, high = (
        np.stack([table.evidence.reference_quantiles[at].astype(np.float64) for table in tables]) for at in (0, 2)
    )
    empty = ~np.isfinite(low).any(0)
    low, high = np.where(np.isfinite(low), low, np.inf).min(0), np.where(np.isfinite(high), high, -np.inf).max(0)
    return tables[0].evidence.reference_names, np.where(empty, np.nan, low), np.where(empty, np.nan, high)
