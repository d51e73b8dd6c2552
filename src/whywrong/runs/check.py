"""Check a model and its data before any run, by accuracy, health and first errors."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from whywrong.core.access import Access
from whywrong.core.statistics import Interval, wilson
from whywrong.data.decoding import DecodeOptions
from whywrong.data.sources.base import Source
from whywrong.models.checks.health import Finding, accuracy_findings
from whywrong.models.classifier import Classifier
from whywrong.runs.labelled import LabelledSource
from whywrong.runs.progress import Progress


@dataclass(frozen=True, slots=True)
class WrongImage:
    """An error found by :func:`check`: its two class names, and the confidence (0..1; None for labels only)."""

    key: str
    true: str
    predicted: str
    confidence: float | None


@dataclass(frozen=True, slots=True)
class CheckReport:
    """Result of :func:`check`.

    Attributes:
        images: Labelled images that were read and classified.
        wrong: Misclassified images.
        accuracy: Share of correctly classified images, with its Wilson interval.
        findings: Of the health probe on a few images, and of the accuracy on all.
        errors: The first misclassified images.
        failed: Key and reason of the items that could not be read or got no valid prediction.
        classes: Number of classes of the model.
        warnings: Warnings of the source.
    """

    images: int
    wrong: int
    accuracy: Interval
    findings: Sequence[Finding]
    errors: Sequence[WrongImage]
    failed: Sequence[tuple[str, str]]
    classes: int
    warnings: Sequence[str]

    @property
    def sound(self) -> bool:
        """Whether no finding makes a diagnosis meaningless."""
        return all(finding.level != "stop" for finding in self.findings)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON values.

        ``accuracy`` is None if no image got a valid prediction.
        """
        return {**dataclasses.asdict(self), **({} if self.images else {"accuracy": None})}


def check(
    classifier: Classifier,
    source: Source,
    *,
    limit: int | None = None,
    show: int = 10,
    decode_options: DecodeOptions | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> CheckReport:
    """Compute accuracy, health and first errors of a classifier on labelled images.

    Args:
        classifier: The model to check.
        source: Labelled images.
        limit: Most images to read, spread over the source; None reads all.
        show: Most errors to return.
        decode_options: How files are decoded.
        progress: Called after every batch.

    Raises:
        InputError: Labels do not match the classes, or something about the input is missing.
        DataError: No labelled image could be read.
    """
    images = LabelledSource(source, decode_options)
    answers: list[tuple[Tensor, Tensor]] = []
    errors: list[WrongImage] = []
    report = progress or (lambda _: None)
    total, done, wrong = min(limit or len(source), len(source)), 0, 0
    with classifier:
        settled = images.settle(classifier)
        names = settled.classes.names
        health = settled.sample.health(classifier, settled.labels)
        for x, y, items in images.read(classifier, settled, limit=limit):
            predicted, confidence, faults = _answers(classifier, x)
            ok = torch.tensor([row not in faults for row in range(len(x))], device=predicted.device)
            answers.append((predicted[ok], y[ok]))
            rows = ((predicted != y) & ok).nonzero().flatten().tolist()
            for row in rows[: show - len(errors)]:
                sure = float(confidence[row]) if confidence is not None else None
                key = items[row].entry.key
                errors.append(WrongImage(key, names[int(y[row])], names[int(predicted[row])], sure))
            images.failed += [(items[row].entry.key, faults[row]) for row in sorted(faults)]
            done, wrong = done + len(items), wrong + len(rows)
            report(Progress("check", min(done + len(images.failed), total), total, wrong, len(images.failed)))
    report(Progress("check", total, total, wrong, len(images.failed)))
    predicted, labels = (torch.cat(column) for column in zip(*answers, strict=True))
    of_all = accuracy_findings(predicted, labels, len(names), names) if len(labels) else ()
    told = {finding.name for finding in of_all}
    of_few = [finding for finding in health.findings if finding.name not in told]
    return CheckReport(
        images=len(labels),
        wrong=wrong,
        accuracy=wilson(len(labels) - wrong, len(labels)),
        findings=[*of_few, *of_all],
        errors=errors,
        failed=images.failed,
        classes=len(names),
        warnings=[*settled.doubts, *source.warnings],
    )


def _answers(classifier: Classifier, x: Tensor) -> tuple[Tensor, Tensor | None, dict[int, str]]:
    """Predict classes and confidences (None for labels only), (B,) each, and give reasons for invalid rows."""
    if classifier.access < Access.SCORES:
        return classifier.predict(x), None, {}
    logits, faults = classifier.logits_or_faults(x)
    confidence, predicted = logits.softmax(1).max(1)
    return predicted, confidence, faults
