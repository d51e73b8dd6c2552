"""Forecast of a run from a sample of its images; nothing is written."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from whywrong.core.discoveries import ENOUGH_CONTROLS
from whywrong.core.statistics import Interval, wilson
from whywrong.data.sources.base import Source
from whywrong.doors.pairs import input_spec
from whywrong.models.classifier import Classifier
from whywrong.runs import identity
from whywrong.runs.controls import HELD_OUT_COUNT, PER_ERROR
from whywrong.runs.options import RunOptions
from whywrong.runs.setup import Sample, check_models, choose_steps, filter_by_access, settle_classes
from whywrong.runs.sizes import shard_size
from whywrong.runs.work.tasks import MethodSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class MethodForecast:
    """Expected cost of a method.

    Attributes:
        name: Name of the method.
        per_error: Typical passes per error that is not explained in full, and per error that is.
        low, high: Passes in all, at the fewest and at the most errors expected.
    """

    name: str
    per_error: tuple[int, int]
    low: int
    high: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """Expected size and cost of a run.

    Attributes:
        items: Items of the data.
        images: Images that would be classified.
        sampled: Labelled images of the sample, evenly spread over the listing, with a valid answer.
        wrong: Those of them that are misclassified.
        errors: Errors expected among ``images``, with the 95 % interval that the sample gives.
        shards, shard_items: Shards, and items of a full one.
        files: Most files that the run would write, its report included.
        device: Device of the model.
        batch_size: Images in one pass.
        seconds_per_image: Seconds to read and prepare one image.
        seconds_per_pass: Seconds of one image in one forward pass.
        methods: Expected cost of each method.
        refused: Reason for each method that the access does not allow.
        workers: Number of processes.
    """

    items: int
    images: int
    sampled: int
    wrong: int
    errors: Interval
    shards: int
    shard_items: int
    files: int
    device: str
    batch_size: int
    seconds_per_image: float
    seconds_per_pass: float
    methods: tuple[MethodForecast, ...]
    refused: dict[str, str]
    workers: int

    def passes(self) -> tuple[int, int]:
        """Return the passes of the run, for the fewest and the most errors expected."""
        return (
            self.images + sum(method.low for method in self.methods),
            self.images + sum(method.high for method in self.methods),
        )

    def seconds(self) -> tuple[float, float]:
        """Return the seconds of all passes and of reading, shared evenly by the workers.

        A backward pass is taken to be as long as a forward pass.
        """
        low, high = ((self.images * self.seconds_per_image + n * self.seconds_per_pass) for n in self.passes())
        return low / self.workers, high / self.workers


def forecast(classifier: Classifier, source: Source, options: RunOptions | None = None) -> Forecast:
    """Estimate what a diagnosis would read, compute and write.

    Up to 64 images, evenly spread over the listing, are read and classified twice to measure the rate.

    Args:
        classifier: The classifier.
        source: Labelled images.
        options: As for a diagnosis; default ``RunOptions()``.

    Raises:
        InputError: A setting is invalid, or labels do not match the classes.
        DataError: None of the images of the sample can be read.
    """
    options = options or RunOptions()
    steps = choose_steps(options.depth, options.methods, options.options)
    spec = input_spec(classifier, source)
    sample = Sample(source, spec, options.decode_options)
    with classifier:
        started = time.perf_counter()
        x, names = sample.images()
        reading = (time.perf_counter() - started) / len(x)
        granted, refused = filter_by_access(steps, classifier.access, explicit=options.methods is not None)
        check_models(granted, classifier, spec)
        classes, _ = settle_classes(classifier, source, sample)
        labels = source.match_labels(classes)
        size = options.batch_size or sample.batch_size(classifier)
        x = x.to(classifier.device)
        classifier.predict(x[:1])  # what happens once is not part of the rate
        started = time.perf_counter()
        predicted = classifier.predict(x).cpu()  # the copy waits for the device
        passing = (time.perf_counter() - started) / len(x)
    y = torch.tensor([-1 if name is None else labels[name] for name in names])
    valid = (y >= 0) & (predicted >= 0)
    wrong, known = int((valid & (predicted != y)).sum()), int(valid.sum())
    items = len(source)
    images = min(items, options.images or items)
    share = wilson(wrong, known)
    low, high = math.floor(share.low * images), math.ceil(share.high * images)
    shard_items = shard_size(items, identity.SHARD_SIZE)
    shards = -(-items // shard_items)
    return Forecast(
        items=items,
        images=images,
        sampled=known,
        wrong=wrong,
        errors=Interval(share.value * images, low, high),
        shards=shards,
        shard_items=shard_items,
        files=_most_files(granted, shards),
        device=str(classifier.device),
        batch_size=size,
        seconds_per_image=reading,
        seconds_per_pass=passing,
        methods=tuple(
            MethodForecast(
                name=step.method.name,
                per_error=step.method.passes,
                low=_passes(step, low, images, options.limit),
                high=_passes(step, high, images, options.limit),
            )
            for step in granted
        ),
        refused=refused,
        workers=options.workers,
    )


def _passes(step: MethodSpec, errors: int, images: int, limit: int) -> int:
    """Return the passes of a method on a number of errors, those of its controls included."""
    plain, full = step.method.passes
    detailed = min(errors, limit) if "detail" in step.method.takes else 0
    controls = 0
    if step.method.role_play and detailed:
        least, most = HELD_OUT_COUNT
        wanted = max(PER_ERROR * detailed, ENOUGH_CONTROLS) + min(max(detailed, least), most)
        controls = min(wanted, images - errors)
    return plain * (errors - detailed) + full * (detailed + controls)


def _most_files(steps: Sequence[MethodSpec], shards: int) -> int:
    """Return the most files of a run: tables of items, predictions and thumbnails, and results with their maps."""
    results = sum(2 if step.method.role_play else 1 for step in steps)
    return shards * (3 + 2 * results) + results + 2  # a schema for each result, run.json and the report
