"""Adapt the combiner to a model and its images with errors planted in them.

The combiner is fitted again on the errors of the training that it keeps and on those planted here, and calibrated on
predictions of planted errors whose photographs did not fit it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from whywrong.core.errors import DataError
from whywrong.models.classifier import Classifier
from whywrong.planting.verdicts.measuring import match_all, measure_all, of_errors, of_reference
from whywrong.planting.verdicts.plan import VerdictPlan
from whywrong.planting.verdicts.planting import choose_reference, plant_errors
from whywrong.planting.verdicts.subjects import Subjects, load_subjects
from whywrong.runs.labelled import LabelledSource, Settled
from whywrong.verdicts.causes import CLASSES
from whywrong.verdicts.combiner.calibration import indices, prediction_sets, tempered
from whywrong.verdicts.combiner.crossed import cross_calibrated
from whywrong.verdicts.combiner.evaluation import Figures, figures
from whywrong.verdicts.combiner.fit import calibrate
from whywrong.verdicts.combiner.fit_scorer import FitConfig, fit_scorer
from whywrong.verdicts.combiner.leave_out import Held
from whywrong.verdicts.combiner.model import Combiner
from whywrong.verdicts.combiner.rows import Rows
from whywrong.verdicts.combiner.situation import SITUATIONS, Situation, completed, situation_of
from whywrong.verdicts.combiner.stored import SHIPPED, shipped
from whywrong.verdicts.evidence import Evidence, assemble
from whywrong.verdicts.recurrence import recurrence

PER_CAUSE = 20
_STAGES = ("pixels", "scores", "survival", "gradient", "crops", "windows")
_FOLDS = 4
_LEAST = 40  # planted errors below which nothing is fitted again
_TRAINING = "training"


@dataclass(frozen=True, slots=True, eq=False)
class Adapted:
    """A combiner for one model, and what it does on errors planted in its images.

    Attributes:
        combiner: The adapted combiner.
        before: Figures of the combiner as it was, on the planted errors.
        after: Figures after the adaptation, on photographs that did not fit it.
        planted: Planted errors by cause, and by ``double``, ``bystander`` and ``natural``.
    """

    combiner: Combiner
    before: Figures
    after: Figures
    planted: dict[str, int]

    def record(self) -> dict[str, Any]:
        """Return figures and counts as plain values."""
        figures = {"before": asdict(self.before), "after": asdict(self.after)}
        plain = {
            when: {name: None if value != value else value for name, value in of.items()}
            for when, of in figures.items()
        }
        return {**plain, "planted": self.planted}


def adapt(
    classifier: Classifier,
    subjects: Subjects,
    settled: Settled,
    combiner: Combiner,
    *,
    helpers: Sequence[Classifier] = (),
    plan: VerdictPlan | None = None,
    progress: Callable[[str, int], None] | None = None,
) -> Adapted:
    """Plant errors in the model's own images, and fit and calibrate the combiner again.

    Args:
        classifier: The model.
        subjects: Its images, see :func:`whywrong.planting.verdicts.subjects.load_subjects`.
        settled: Classes agreed between model and images.
        combiner: The combiner to adapt.
        helpers: Other models whose answers are evidence.
        plan: Settings of the planting; default 20 errors of each cause.
        progress: Called with the name and number of errors after each step.

    Raises:
        DataError: Fewer than 40 errors can be planted.
    """
    plan = plan or VerdictPlan(per_cause=PER_CAUSE)
    errors, report = plant_errors(classifier, subjects, plan, progress=progress)
    if len(errors) < _LEAST:
        raise DataError(
            f"only {len(errors)} errors could be planted, at least {_LEAST} are needed to adapt; give more images"
        )
    rows = choose_reference(subjects, count=plan.reference, seed=plan.seed, without=frozenset(errors.sources))
    asked = match_all(helpers, settled.classes)
    measured = measure_all(classifier, of_errors(errors), helpers=asked, seed=plan.seed)
    reference = measure_all(classifier, of_reference(subjects, rows), helpers=asked, seed=plan.seed)
    if progress is not None:
        progress("measured", len(measured) + len(reference))
    evidence = assemble(measured, reference, recurrence(measured), stages=_STAGES)
    own = Rows(
        evidence=aligned(evidence, combiner),
        truth=indices(errors.truth, CLASSES),
        kind=np.array(errors.kind, dtype=np.str_),
        half=errors.half.numpy(),
        role=np.array(errors.role, dtype=np.str_),
        second=np.array(errors.second, dtype=np.str_),
        net="own",
        family="own",
        data="own",
        helper="",
    )
    return adapt_to(combiner, own, errors.sources, dict(report.planted))


def adapt_to_images(
    classifier: Classifier,
    data: LabelledSource,
    *,
    combiner: Combiner | None = None,
    helpers: Sequence[Classifier] = (),
    plan: VerdictPlan | None = None,
    progress: Callable[[str, int], None] | None = None,
) -> Adapted:
    """Adapt a combiner to a model and labelled images, as ``whywrong verdict --adapt`` does.

    Args:
        classifier: The model.
        data: Labelled images, in which errors are planted.
        combiner: The combiner to adapt; None takes the one that ships with the package.
        helpers, plan, progress: As for :func:`adapt`.

    Raises:
        DataError: No combiner is there, too few images are predicted as labelled, or too few errors can be planted.
    """
    plan = plan or VerdictPlan(per_cause=PER_CAUSE)
    if combiner is None:
        if not SHIPPED.exists():
            raise DataError("no combiner ships with this package; make one with `make verdict`")
        combiner = shipped()
    settled = data.settle(classifier)
    subjects = load_subjects(classifier, data, settled, limit=plan.limit)
    return adapt(classifier, subjects, settled, combiner, helpers=helpers, plan=plan, progress=progress)


def adapt_to(
    combiner: Combiner, own: Rows, sources: Sequence[str], planted: dict[str, int], config: FitConfig | None = None
) -> Adapted:
    """Adapt a combiner to evidence on planted errors, which has its columns.

    Args:
        combiner: The combiner.
        own: Evidence and causes of the planted errors.
        sources: Photograph of each error; those of one photograph are predicted together.
        planted: Counts for the report.
        config: Settings of the fits.
    """
    config = config or FitConfig()
    kept = kept_plants(combiner, own)
    fold = folds(sources)
    scores = np.full((len(SITUATIONS), len(own), len(CLASSES)), np.nan)
    for number in range(_FOLDS):
        test = fold == number
        if test.any():
            scorer = fit_scorer([kept, *_weighted(own.at(~test))], config)
            scores[:, test] = _scores(scorer.predict, own.at(test))
    held = _held(scores, own)
    before = _held(_scores(combiner.scorer.predict, own), own)
    calibration = calibrate(held)
    adapted = replace(
        combiner,
        scorer=fit_scorer([kept, *_weighted(own)], config),
        temperature=calibration.temperature,
        threshold=calibration.threshold,
        levels=calibration.levels,
    )
    situation = situation_of(own.evidence)
    found = Adapted(
        combiner=adapted,
        before=_figures(before, situation, combiner),
        after=cross_calibrated(held, situation).figures(),
        planted=planted,
    )
    return replace(found, combiner=replace(adapted, facts={**combiner.facts, "adapted": found.record()}))


def aligned(evidence: Evidence, combiner: Combiner) -> Evidence:
    """Return evidence with the columns of a combiner; those that it does not know are dropped."""
    place = {name: column for column, name in enumerate(evidence.names)}
    x = np.full((len(evidence), len(combiner.columns.names)), np.nan, dtype=np.float32)
    median = combiner.scorer.mean[: x.shape[1]].astype(np.float32)
    for column, name in enumerate(combiner.columns.names):
        if name in place:
            x[:, column] = evidence.x[:, place[name]]
            median[column] = evidence.median[place[name]]
    return replace(evidence, columns=combiner.columns, x=x, median=median)


def kept_plants(combiner: Combiner, own: Rows) -> Rows:
    """Return the errors of the training that a combiner keeps, as evidence of one more net."""
    columns = len(combiner.columns.names)
    scale, mean = combiner.scorer.scale[:columns], combiner.scorer.mean[:columns]
    x = (combiner.plants.z.astype(np.float64) * scale + mean).astype(np.float32)
    count = len(x)
    helpers = 1 if own.evidence.helpers else 0
    evidence = replace(own.evidence, x=x, median=mean.astype(np.float32), helpers=helpers)
    text = np.full(count, "", dtype="U1")
    return Rows(
        evidence=evidence, truth=combiner.plants.cause.astype(np.int64), kind=combiner.plants.kind,
        half=np.zeros(count, np.int64), role=text, second=text, net=_TRAINING, family=_TRAINING, data=_TRAINING,
        helper="",
    )  # fmt: skip


def folds(sources: Sequence[str]) -> np.ndarray:
    """Return the fold (N,) int64 of each error, the same for all errors of a photograph."""
    return np.array([hashlib.blake2b(f"fold {one}".encode(), digest_size=1).digest()[0] % _FOLDS for one in sources])


def _weighted(own: Rows) -> list[Rows]:
    """Repeat the model's own errors, since there are far fewer of them than of the training."""
    return [own, own]


def _scores(predict: Callable[[np.ndarray], np.ndarray], own: Rows) -> np.ndarray:
    """Return uncalibrated probabilities in each situation (S, N, 8); NaN where it does not apply."""
    found = np.full((len(SITUATIONS), len(own), len(CLASSES)), np.nan)
    evidence = own.evidence
    for at, situation in enumerate(SITUATIONS):
        if evidence.helpers or not situation.helper:
            found[at] = predict(completed(evidence.x, evidence.median, evidence.columns, situation))
    return found


def _held(scores: np.ndarray, own: Rows) -> Held:
    net = np.full(len(own), own.net, dtype=f"U{max(1, len(own.net))}")
    return Held(scores=scores, truth=own.truth, kind=own.kind, role=own.role, second=own.second, net=net, data=net)


def _figures(held: Held, situation: Situation, combiner: Combiner) -> Figures:
    """Return the figures of the combiner as it is, without a calibration on these errors."""
    at = SITUATIONS.index(situation)
    p = tempered(held.scores[at], float(combiner.temperature[at]))
    return figures(
        p,
        held.truth,
        classes=CLASSES,
        threshold=float(combiner.threshold[at]),
        sets=prediction_sets(p, combiner.levels[at]),
        bystander=held.role == "bystander",
    )
