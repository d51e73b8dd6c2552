"""Read the scores of the best classes only, as a service returns them that lists its five best."""

from __future__ import annotations

import torch
from torch import Tensor

from whywrong.core.access import Access
from whywrong.models.answers import FLOOR
from whywrong.models.classifier import Classifier

MOST = 5  # classes that are read of a model that returns all


def listed_scores(classifier: Classifier, x: Tensor, errors: dict[int, Exception] | None = None) -> Tensor:
    """Compute log-probabilities of the best classes only.

    A model that returns more than its best classes is read as if it listed five.

    Args:
        classifier: Grants at least TOP.
        x: (B, C, H, W), floating point, in [0, 1].
        errors: Receives the exception of each row on which the model raised.

    Returns:
        (B, K) float32, on the device of ``x``; the logarithm of ``FLOOR`` for all other classes, and NaN in rows
        without a usable answer.

    Raises:
        AccessError, InputError, ModelError: For the same reasons as in :meth:`Classifier.logits_or_faults`.
    """
    logits, _ = classifier.logits_or_faults(x, errors, access=Access.TOP)
    if classifier.output == "top":
        return logits
    scores = logits.log_softmax(1)
    best = scores.topk(min(MOST, scores.shape[1]), 1)
    floor = torch.full_like(scores, FLOOR).log()
    return floor.scatter(1, best.indices, best.values).where(logits.isfinite().all(1, keepdim=True), torch.nan)
