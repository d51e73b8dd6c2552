"""Measure planted errors and their reference as a diagnosis does, without the planted truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from whywrong.core.access import Access
from whywrong.core.classes import ClassList
from whywrong.core.randomness import item_keys
from whywrong.explain.interventions import INTERVENTIONS
from whywrong.explain.signs import STAGES
from whywrong.models.classifier import Classifier
from whywrong.planting.verdicts.planted_errors import PlantedErrors
from whywrong.planting.verdicts.subjects import Subjects
from whywrong.verdicts.cases.helpers import match_helper
from whywrong.verdicts.measure import Measures, measure
from whywrong.verdicts.measured import Measured, join

_CHUNK = 32
_SURE = 10.0  # logit of the answer of a helper that only returns labels
_TESTS = tuple(dict.fromkeys(test.cause for test in INTERVENTIONS if test.cause))
EVERYTHING = Measures(basics=True, signs=STAGES, tests=_TESTS)


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """A helper, and for each class of the model its output, -1 for none.

    Attributes:
        classifier: The helper.
        columns: Its outputs.
    """

    classifier: Classifier
    columns: tuple[int, ...]


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
    helpers: Sequence[Asked] = (),
    seed: int = 0,
    measures: Measures = EVERYTHING,
    take: Callable[[int, Callable[[], Measured]], Measured] = lambda start, make: make(),
) -> Measured:
    """Take all measurements of all stages.

    Args:
        classifier: The model.
        images: Images in the part of errors; at least one.
        helpers: Other models, see :func:`match_all`.
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
    helpers: Sequence[Asked],
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


def match_all(helpers: Sequence[Classifier], classes: ClassList) -> list[Asked]:
    """Match the classes of helpers to those of the model.

    Raises:
        InputError: A helper knows less than 90 % of them.
    """
    return [
        Asked(helper, match_helper(helper, classes, helper.title or f"number {number + 1}").columns)
        for number, helper in enumerate(helpers)
    ]


def _answers(helper: Asked, x: Tensor) -> np.ndarray:
    """Return the logits (B, K) of a helper on the model's own inputs, resized to its size."""
    model = helper.classifier
    spec = model.preprocess
    if spec is not None and (spec.height, spec.width) != tuple(x.shape[2:]):
        size = (spec.height, spec.width)
        x = F.interpolate(x, size, mode="bilinear", antialias=True, align_corners=False).clamp(0, 1)
    x = x.to(model.device)
    with model:
        if model.access >= Access.SCORES:
            theirs = model.logits(x).cpu()
        else:
            theirs = _SURE * F.one_hot(model.predict(x).cpu(), model.num_classes).float()
    columns = torch.tensor(helper.columns)
    lowest = theirs.min(1, keepdim=True).values
    return torch.where(columns >= 0, theirs[:, columns.clamp_min(0)], lowest).numpy()
