"""Check on a first batch, before anything is explained, that the model is set up correctly.

Each check states what it found and what to do. A broken contract stops the run; a doubt is a warning.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from whywrong.core.access import Access
from whywrong.core.checks import check_images, check_labels
from whywrong.core.errors import ModelError, NonFiniteError
from whywrong.models.checks.alternatives import check_alternatives
from whywrong.models.checks.findings import Finding, HealthReport
from whywrong.models.checks.health_checks import (
    NONFINITE_LEAST,
    NONFINITE_SHARE,
    check_faults,
    check_gradient,
    check_head,
    check_mode,
    check_range,
    check_repeats,
    check_scores,
    labels_as_scores,
)
from whywrong.models.checks.labels_check import check_accuracy
from whywrong.models.classifier import Classifier

__all__ = ["Finding", "HealthReport", "accuracy_findings", "check_nonfinite_share", "probe"]

LARGEST_BATCH = 128  # images probed; more would take time without more information


def probe(classifier: Classifier, x: Tensor, y: Tensor | None = None) -> HealthReport:
    """Check a classifier on a first batch.

    At most 128 images are used, at a cost of about ten passes over them. The model is left unchanged.

    Args:
        classifier: Any access; checks that need more than it grants are skipped.
        x: Images, (B, C, H, W), in [0, 1]; 32 or more are recommended.
        y: Labels, (B,) int64; None skips the checks that need labels.

    Raises:
        InputError: The images or labels have another shape, type or range.
    """
    check_images(x)
    x, y = x[:LARGEST_BATCH], None if y is None else y[:LARGEST_BATCH]
    start = classifier.forwards
    findings = [Finding("note", "loading", text) for text in classifier.notes]
    access, accuracy = classifier.access, None
    findings += check_mode(classifier)
    findings += check_range(x)
    if len(x) and not any(finding.level == "stop" for finding in findings):
        if classifier.access < Access.SCORES:
            predicted = classifier.predict(x)
            findings += check_repeats(classifier, x, predicted[:, None].float(), labels_as_scores)
            keep = predicted >= 0
            x, predicted = x[keep], predicted[keep]
            answers = predicted[:, None]
        else:
            try:
                logits, faults = classifier.logits_or_faults(x)
            except ModelError as error:
                return HealthReport((*findings, Finding("stop", "answer", str(error))), access, len(x), None, 0)
            findings += check_faults(faults, len(x))
            keep = torch.tensor([row not in faults for row in range(len(x))], dtype=torch.bool, device=x.device)
            x, answers = x[keep], logits[keep]
            predicted = answers.argmax(1)
            findings += check_scores(classifier, x, answers)
            more, access = check_gradient(classifier, x[:8])
            findings += more
        if y is not None and len(predicted):
            y = y[keep]
            check_labels(y, len(x), len(classifier.classes) if classifier.classes else 2**62)
            accuracy = float((predicted == y).float().mean())
            classes = len(classifier.classes) if classifier.classes else int(max(predicted.max(), y.max())) + 1
            names = classifier.classes.names if classifier.classes else None
            findings += accuracy_findings(predicted, y, classes, names)
            findings += check_head(classifier, x, predicted == y)
            if accuracy < 1 and classifier.classes:
                findings += check_alternatives(classifier, x, y, answers)
        else:
            findings += check_head(classifier, x, None)
    return HealthReport(tuple(findings), access, len(x), accuracy, classifier.forwards - start)


def accuracy_findings(
    predicted: Tensor, y: Tensor, classes: int, names: Sequence[str] | None = None
) -> tuple[Finding, ...]:
    """Warn if the labels as a whole do not match the predictions.

    Predictions and labels are (B,) int64 of any number of images. Warnings say that all predictions are wrong, that
    accuracy is near chance, or that the label order looks permuted. All images of a run give better evidence than the
    first batch, which may hold few classes.
    """
    return tuple(Finding("warn", name, text) for name, text in check_accuracy(predicted, y, classes, names))


def check_nonfinite_share(failed: int, seen: int) -> None:
    """Raise an error if more than 5 % of the images so far gave NaN or infinity.

    Raises:
        NonFiniteError: More than 5 % of at least 20 images failed.
    """
    if seen >= NONFINITE_LEAST and failed > NONFINITE_SHARE * seen:
        raise NonFiniteError(
            f"the model returns NaN or infinite scores on {failed} of {seen} images (more than 5 %): check its "
            "weights, its normalisation and half precision"
        )
