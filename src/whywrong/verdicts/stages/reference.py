"""Correct images in the part of errors, which errors are compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from whywrong.core.errors import DataError
from whywrong.explain.analysis import AnalysisContext
from whywrong.verdicts.cases.cases import Cases, controls_of, correct_of, reference_of
from whywrong.verdicts.cases.helpers import Helper
from whywrong.verdicts.cases.predictions import Predictions
from whywrong.verdicts.config import VerdictConfig
from whywrong.verdicts.controls import CALIPER, MOST_CONTROLS, logit_scale, margins
from whywrong.verdicts.measure import Measures, add
from whywrong.verdicts.measured import Measured, join
from whywrong.verdicts.stages.harmless import Trial, try_changes
from whywrong.verdicts.stages.units import Taken, take

STAGES: tuple[tuple[str, ...], ...] = (("pixels", "scores"), ("survival", "gradient"), ("crops", "windows"))
"""Stages of signs by stage of the cascade."""

TAKEN_AWAY = ("corruption", "adversarial")
"""Causes whose test takes them away from the error; ``label`` is tested by the survival of the prediction."""


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """Correct images in the part of errors.

    Attributes:
        measured: Measurements of images spread over the classes; of no images if there are too few.
        controls: The same and further images with the margins of the errors, with which tests are compared.
        cost: Mean passes of each stage for one image, and of the tests last.
        passes: Passes spent on all of them.
        images: Name of their set.
        correct: All correct images, to which causes are given.
        first: The first stage of the images spread over the classes, with their pictures; None if there are too few.
        cases: The images spread over the classes, in role play, in the order of ``measured``.
        trial: What small changes can tell about these images.
    """

    measured: Measured
    controls: Measured
    cost: tuple[float, ...]
    passes: int
    images: str
    correct: Cases
    first: Taken | None = None
    cases: Cases | None = None
    trial: Trial = field(default_factory=Trial)


def make_reference(
    context: AnalysisContext,
    config: VerdictConfig,
    predictions: Predictions,
    errors: Measured,
    images: str,
    helpers: Sequence[Helper],
) -> Reference:
    """Choose correct images and take all measurements of them.

    Args:
        context: Of the analysis.
        config: Settings.
        predictions: Predictions of the set.
        errors: Errors, at least after the first stage.
        images: Name of the set.
        helpers: Helpers that are asked.

    Raises:
        DataError: None of the correct images can be measured.
    """
    count = {"most": config.reference_images, "least": config.least_reference}
    cases = reference_of(predictions, len(errors), seed=config.seed, **count)
    correct = correct_of(predictions)
    if len(cases) < config.no_reference:
        nothing = errors.at(np.zeros(0, np.int64))
        return Reference(nothing, nothing, (0.0,) * 4, 0, images, correct)
    trial = try_changes(context, cases, images, config.seed)
    measured, cost, first = _measure(context, config, cases, images, helpers, trial)
    scale = logit_scale(errors)
    further = controls_of(
        predictions,
        scale * margins(errors, scale),
        cases,
        reach=CALIPER * scale,
        wanted=MOST_CONTROLS,
        most=config.controls,
        seed=config.seed,
    )
    controls = measured
    if len(further):
        more, _, _ = _measure(context, config, further, images, helpers, trial, controls=True)
        controls = join([measured, more])
    passes = int((controls.forwards + controls.backwards).sum()) + 3 * len(cases)  # of the trial
    kept = cases.at(first.rows)
    return Reference(measured, controls, cost, passes, images, correct, first, kept, trial)


def _measure(
    context: AnalysisContext,
    config: VerdictConfig,
    cases: Cases,
    images: str,
    helpers: Sequence[Helper],
    trial: Trial,
    *,
    controls: bool = False,
) -> tuple[Measured, tuple[float, ...], Taken]:
    """Take the measurements, each stage in a step of its own; controls of tests need no crops and windows.

    Returns:
        The measurements, the mean passes for one image of each step, and the first step.
    """
    name = "controls" if controls else "reference"
    basics = Measures(basics=True, signs=STAGES[0], pictures=not controls)
    first = take(context, f"{name} stage 1", cases, basics, seed=config.seed, images=images, helpers=helpers)
    if first.measured is None:
        reason = next(iter(first.failed.values()))
        raise DataError(f"none of {len(cases)} correct images can be measured; the first: {reason}")
    cases, measured = cases.at(first.rows), first.measured
    costs = [_mean_cost(measured)]
    steps = {f"stage {at}": Measures(signs=STAGES[at - 1]) for at in ((2,) if controls else (2, 3))}
    steps["tests"] = Measures(tests=TAKEN_AWAY)
    for step, measures in steps.items():
        given = {"seed": config.seed, "images": images, "logits": measured.logits}
        taken = take(context, f"{name} {step}", cases, trial.applied(measures), **given)
        costs.append(0.0 if taken.measured is None else _mean_cost(taken.measured))
        if taken.measured is not None:
            measured = add(measured, taken.rows, taken.measured)
    return measured, tuple(costs), first


def _mean_cost(measured: Measured) -> float:
    return float((measured.forwards + measured.backwards).mean())
