"""Measure planted errors and their reference as a diagnosis does, without the planted truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from whywrong.core.access import Access
from whywrong.core.randomness import item_keys
from whywrong.explain.interventions import INTERVENTIONS
from whywrong.explain.signs import STAGES
from whywrong.models.classifier import Classifier
from whywrong.planting.verdicts.planted_errors import PlantedErrors
from whywrong.planting.verdicts.subjects import Subjects
from whywrong.verdicts.measure import Measures, measure
from whywrong.verdicts.measured import Measured, join

_CHUNK = 32
_TESTS = tuple(dict.fromkeys(test.cause for test in INTERVENTIONS if test.cause))
EVERYTHING = Measures(basics=True, signs=STAGES, tests=_TESTS)


@dataclass(frozen=True, slots=True, eq=False)
class ToMeasure:
    """Images in the part of errors.

    Attributes:
        x: (N, C, H, W), uint8.
        label: (N,), int64, class asked for.
        predicted: (N,), int64, predicted class.
        item_ids: Name of each image.
        sources: Photograph that each image comes from.
    """

    x: Tensor
    label: Tensor
    predicted: Tensor
    item_ids: tuple[str, ...]
    sources: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.label)


def of_errors(errors: PlantedErrors) -> ToMeasure:
    """Return errors without their truth."""
    names = tuple(f"error-{row:05d}" for row in range(len(errors)))
    return ToMeasure(errors.x, errors.label, errors.predicted, names, errors.sources)


def of_reference(subjects: Subjects, rows: Tensor) -> ToMeasure:
    """Return correct images in the part of errors whose label is the runner-up."""
    some = subjects.at(rows)
    return ToMeasure(some.x, some.runner_up, some.predicted, some.item_ids, some.sources)


def measure_all(
    classifier: Classifier,
    images: ToMeasure,
    *,
    helpers: Sequence[Classifier] = (),
    seed: int = 0,
    measures: Measures = EVERYTHING,
    take: Callable[[int, Callable[[], Measured]], Measured] = lambda start, make: make(),
) -> Measured:
    """Take all measurements of all stages.

    Args:
        classifier: The model.
        images: Images in the part of errors; at least one.
        helpers: Other models over the same classes in the same order.
        seed: Seed of the noise.
        measures: What is measured.
        take: Called with the first row of each part and a function that measures it; may return a stored result.
    """
    parts = []
    for start in range(0, len(images), _CHUNK):
        rows = slice(start, start + _CHUNK)

        def make(rows: slice = rows) -> Measured:
            return _measure(classifier, images, rows, helpers, seed, measures)

        parts.append(take(start, make))
    return join(parts)


def _measure(
    classifier: Classifier,
    images: ToMeasure,
    rows: slice,
    helpers: Sequence[Classifier],
    seed: int,
    measures: Measures,
) -> Measured:
    x = images.x[rows].float().to(classifier.device) / 255
    with classifier:
        found = measure(
            classifier,
            x,
            images.label[rows].to(x.device),
            images.predicted[rows].to(x.device),
            item_ids=images.item_ids[rows],
            sources=images.sources[rows],
            keys=item_keys(seed, images.item_ids[rows], "verdict").to(x.device),
            measures=measures,
        )
    if helpers:
        found = replace(found, helper_logits=np.stack([_answers(helper, x) for helper in helpers]))
    return found


def _answers(helper: Classifier, x: Tensor) -> np.ndarray:
    """Return the logits (B, K) of a helper on the model's own inputs, resized to its size."""
    spec = helper.preprocess
    if spec is not None and (spec.height, spec.width) != tuple(x.shape[2:]):
        size = (spec.height, spec.width)
        x = F.interpolate(x, size, mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)
    x = x.to(helper.device)
    with helper:
        if helper.access >= Access.SCORES:
            return helper.logits(x).cpu().numpy()
        answer = helper.predict(x).cpu()
        return 10.0 * F.one_hot(answer, helper.num_classes).float().numpy()
