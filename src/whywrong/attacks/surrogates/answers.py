"""TrainingAnswers of a black box, which a surrogate is trained on. Each image asked is one query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from whywrong.core.access import Access
from whywrong.core.errors import InputError
from whywrong.models.classifier import Classifier

LEAST_LOG = -20.0  # nats; a probability that is rounded to 0 gives no logarithm


@dataclass(frozen=True, slots=True, eq=False)
class TrainingAnswers:
    """Images and what a black box answered to each.

    Attributes:
        x: Images, (N, C, H, W), in [0, 1].
        predicted: Predicted classes, (N,), int64.
        log_scores: Log-probabilities, (N, K), at least -20; None if the black box only gives labels.
        classes: Number of classes, K.
    """

    x: Tensor
    predicted: Tensor
    log_scores: Tensor | None
    classes: int

    def __len__(self) -> int:
        return len(self.x)

    def at(self, rows: Tensor) -> TrainingAnswers:
        """Select some answers, by index or mask."""
        scores = None if self.log_scores is None else self.log_scores[rows]
        return TrainingAnswers(self.x[rows], self.predicted[rows], scores, self.classes)

    @staticmethod
    def join(parts: Sequence[TrainingAnswers]) -> TrainingAnswers:
        """Join answers of one black box; labels only if one part has no scores."""
        scores = [part.log_scores for part in parts if part.log_scores is not None]
        return TrainingAnswers(
            torch.cat([part.x for part in parts]),
            torch.cat([part.predicted for part in parts]),
            torch.cat(scores) if len(scores) == len(parts) else None,
            max(part.classes for part in parts),
        )


def log_scores(logits: Tensor) -> Tensor:
    """Normalise scores (N, K) to log-probabilities, at least ``LEAST_LOG``."""
    return logits.float().log_softmax(1).clamp_min(LEAST_LOG)


def ask_answers(classifier: Classifier, x: Tensor, *, labels_only: bool = False) -> TrainingAnswers:
    """Ask a black box about images; one query each. Images without a finite answer are left out.

    Args:
        classifier: The black box; scores are read if it grants them.
        x: (N, C, H, W), floating point, in [0, 1].
        labels_only: Read labels also if it grants scores.

    Raises:
        InputError: The number of classes is not known, which labels alone do not tell.
    """
    if classifier.access >= Access.SCORES and not labels_only:
        logits = classifier.logits(x)
        kept = logits.isfinite().all(1)
        logits = logits[kept]
        return TrainingAnswers(x[kept], logits.argmax(1), log_scores(logits), logits.shape[1])
    predicted = classifier.predict(x)
    if classifier.classes is None:
        raise InputError("labels do not tell the number of classes: give the classes of the black box (classes=...)")
    kept = predicted >= 0
    return TrainingAnswers(x[kept], predicted[kept], None, classifier.num_classes)
