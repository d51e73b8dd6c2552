"""The combiner, which computes calibrated probabilities of causes from evidence with NumPy alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from whywrong.verdicts.causes import CLASSES, ORDINARY
from whywrong.verdicts.combiner.calibration import (
    estimate_prior,
    prediction_sets,
    tempered,
    with_prior,
)
from whywrong.verdicts.combiner.plants import Plants
from whywrong.verdicts.combiner.prediction import Prediction
from whywrong.verdicts.combiner.scorer import Scorer
from whywrong.verdicts.combiner.situation import SITUATIONS, Situation, available, completed, situation_of
from whywrong.verdicts.evidence import Columns, Evidence

ALONE = 0.9  # least probability of a stated cause without reference images
CLOSE = 0.1  # two causes this close are both named
MOST_MISSING = 1 / 3  # share of missing values above which nothing is stated
MOST_DRIFT = 0.2  # share of signs outside the range of the training above which only sets are trusted
_SMALLEST = 1e-7


@dataclass(frozen=True, eq=False, kw_only=True)
class Combiner:
    """A fitted combination of evidence.

    Attributes:
        columns: The F columns of evidence that it uses.
        scorer: Computes uncalibrated probabilities.
        temperature: (S,) float64, one per entry of :data:`SITUATIONS`.
        threshold: (S,) float64, smallest probability of a stated cause.
        levels: (S, 8) float64, largest scores in prediction sets.
        unseen: (S,) float64, distance to the plants beyond which an error is unlike all of them.
        plants: Errors of the training set.
        reference_names: Names of R raw signs of reference images.
        reference_low: (R,) float64, smallest 5 % quantile of each sign over the models of the training set.
        reference_high: (R,) float64, largest 95 % quantile of each sign over these models.
        facts: Nets, plants, licences and metrics, as JSON values.
    """

    columns: Columns
    scorer: Scorer
    temperature: np.ndarray
    threshold: np.ndarray
    levels: np.ndarray
    unseen: np.ndarray
    plants: Plants
    reference_names: tuple[str, ...]
    reference_low: np.ndarray
    reference_high: np.ndarray
    facts: Mapping[str, Any]

    @cached_property
    def _typical(self) -> np.ndarray:
        """Mean of each column in the training, which replaces it if a run has no such column."""
        return self.scorer.mean[: len(self.columns.names)]

    def predict(self, evidence: Evidence) -> Prediction:
        """Predict the causes of errors.

        Args:
            evidence: Evidence on N errors of one run.
        """
        situation = situation_of(evidence)
        at = SITUATIONS.index(situation)
        x, median = self._aligned(evidence)
        full = completed(x, median, self.columns, situation)
        flat = tempered(self.scorer.predict(full), float(self.temperature[at]))
        prior = estimate_prior(flat)
        p = with_prior(flat, prior)
        allowed = available(self.columns, situation)
        missing = np.isnan(x)
        z = self.scorer.standardised(full)[:, : len(allowed)]
        distance = self.plants.distances(z, ~missing & allowed)
        unseen = distance.min(1, initial=np.inf) > self.unseen[at]
        sets = prediction_sets(flat, self.levels[at])
        drift = self._drift(evidence)
        threshold = float(self.threshold[at]) if situation.reference else max(ALONE, float(self.threshold[at]))
        too_few = (missing & allowed).sum(1) > MOST_MISSING * max(int(allowed.sum()), 1)
        reason = _reasons(p, threshold, too_few, unseen, sets if drift > MOST_DRIFT else None)
        best = p.argmax(1)
        causes = tuple(CLASSES[k] for k in best)
        kinds = self.plants.kinds(distance, best)
        return Prediction(
            probability_flat=flat,
            probability=p,
            prior=prior,
            cause=causes,
            kind=tuple("" if cause == ORDINARY else kind for cause, kind in zip(causes, kinds, strict=True)),
            set90=_named_sets(flat, sets),
            stated=np.array([not why for why in reason], dtype=bool),
            reason=reason,
            lacks=self._lacks(missing, allowed),
            unseen=unseen,
            situation=situation.name,
            threshold=threshold,
            drift=drift,
            note=_note(situation, drift),
        )

    def ablate(self, evidence: Evidence, cause: np.ndarray) -> tuple[tuple[str, ...], np.ndarray]:
        """Measure how much each group of evidence supports a cause.

        Args:
            evidence: Evidence on N errors.
            cause: (N,) int64, index of a cause in the list of classes.

            Returns:
                The names of G groups, at most 12, and the effect of each group (N, G) float64. The effect is the log
                probability of the cause minus that with the group set to the typical reference image. It is positive if
                the group supports the cause, and 0 if the group is missing.
        """
        situation = situation_of(evidence)
        temperature = float(self.temperature[SITUATIONS.index(situation)])
        x, median = self._aligned(evidence)
        rows = np.arange(len(x))

        def log_p(values: np.ndarray) -> np.ndarray:
            full = completed(values, median, self.columns, situation)
            return np.log(np.maximum(tempered(self.scorer.predict(full), temperature)[rows, cause], _SMALLEST))

        groups = tuple(dict.fromkeys(self.columns.groups))[:12]
        before = log_p(x)
        of_group = np.array(self.columns.groups)
        after = [log_p(np.where(of_group == group, np.nan, x)) for group in groups]
        return groups, np.stack([before - one for one in after], axis=1)

    def _aligned(self, evidence: Evidence) -> tuple[np.ndarray, np.ndarray]:
        """Return the columns of the combiner (N, F), NaN if missing, and their replacements (F,)."""
        place = {name: i for i, name in enumerate(evidence.names)}
        x = np.full((len(evidence), len(self.columns.names)), np.nan, dtype=np.float32)
        median = self._typical.astype(np.float32).copy()
        for column, name in enumerate(self.columns.names):
            if name in place:
                x[:, column] = evidence.x[:, place[name]]
                median[column] = evidence.median[place[name]]
        return x, median

    def _drift(self, evidence: Evidence) -> float:
        """Return the share of the reference's signs whose median is outside the range of the training."""
        place = {name: i for i, name in enumerate(evidence.reference_names)}
        some = [i for i, name in enumerate(self.reference_names) if name in place]
        middle = np.array([evidence.reference_quantiles[1, place[self.reference_names[i]]] for i in some])
        low, high = self.reference_low[some], self.reference_high[some]
        known = np.isfinite(middle) & np.isfinite(low) & np.isfinite(high)
        if not known.any():
            return 0.0
        return float(((middle < low) | (middle > high))[known].mean())

    def _lacks(self, missing: np.ndarray, allowed: np.ndarray) -> tuple[tuple[str, ...], ...]:
        """Return the groups of which nothing is known, and further missing signs, for each error."""
        groups = np.array(self.columns.groups)
        absent = missing | ~allowed
        names = tuple(dict.fromkeys(self.columns.groups))
        empty = np.stack([absent[:, groups == group].all(1) for group in names], axis=1)
        found = []
        for row in range(len(missing)):
            gone = [group for group, yes in zip(names, empty[row], strict=True) if yes]
            single = missing[row] & allowed & ~np.isin(groups, gone)
            found.append((*gone, *(self.columns.names[i] for i in np.flatnonzero(single))))
        return tuple(found)


def _reasons(
    p: np.ndarray, threshold: float, too_few: np.ndarray, unseen: np.ndarray, sets: np.ndarray | None
) -> tuple[str, ...]:
    """Return why no cause is stated, empty where one is.

    Args:
        p: (N, K) probabilities.
        threshold: Probability from which a cause is stated.
        too_few: (N,) bool, too little was measured.
        unseen: (N,) bool, unlike the training.
        sets: (N, K) bool, prediction sets if only they are trusted.
    """
    order = np.argsort(-p, axis=1, kind="stable")
    found = []
    for row, (first, second) in enumerate(order[:, :2]):
        both = (CLASSES[first], CLASSES[second])
        if too_few[row]:
            why = "more than a third of the evidence is missing"
        elif both[0] == ORDINARY:
            why = "there is no evidence for any of the causes"
        elif unseen[row]:
            why = "it is unlike all planted causes"
        elif ORDINARY not in both and p[row, first] - p[row, second] < CLOSE:
            why = f"{both[0]} and {both[1]} are about equally likely"
        elif p[row, first] < threshold:
            why = f"no cause reaches a probability of {threshold:.2f}"
        elif sets is not None and sets[row].sum() > 1:
            why = "the model is unlike the models of the training, and several causes remain"
        else:
            why = ""
        found.append(why)
    return tuple(found)


def _named_sets(p: np.ndarray, sets: np.ndarray) -> tuple[tuple[str, ...], ...]:
    order = np.argsort(-p, axis=1, kind="stable")
    return tuple(tuple(CLASSES[k] for k in order[row] if sets[row, k]) for row in range(len(p)))


def _note(situation: Situation, drift: float) -> str:
    """Return the remark on all errors."""
    notes = []
    if not situation.reference:
        notes.append("no reference: fewer than 50 correct images, so that signs could not be compared with any")
    if drift > MOST_DRIFT:
        notes.append(
            f"{drift:.0%} of the signs of the correct images are outside the range of the models that the combination "
            "was fitted on; only errors with a single cause in their 90 % set are stated"
        )
    return "; ".join(notes)
