"""Read the answers of a black box as predicted classes and margins."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from whywrong.core.margins import best_other
from whywrong.models.answers import FLOOR

LISTED = 2 * FLOOR  # least probability of a listed class; 0 became FLOOR before the logarithm was taken
_BELOW = 1e-6  # by which a class that is not listed is taken to be below the last listed one


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """Answers to images.

    Attributes:
        label: (n,), int64, predicted class; -1 if the answer is not usable.
        margin: (n,), float32, best other class minus the class asked for, negative once it is predicted; infinite if
            the answer is not usable, NaN for labels only.
        reached: (n,), bool, whether the goal is reached.
    """

    label: Tensor
    margin: Tensor
    reached: Tensor

    def at(self, rows: Tensor) -> Answers:
        """Select some rows, by index or mask."""
        return Answers(self.label[rows], self.margin[rows], self.reached[rows])


def is_listed(logits: Tensor, y: Tensor) -> Tensor:
    """Tell which log-probabilities (n, K) list the class ``y`` (n,), as a mask (n,)."""
    return logits.gather(1, y[:, None])[:, 0] > torch.log(logits.new_tensor(LISTED))


def read_margin(logits: Tensor, y: Tensor, *, probabilities: bool) -> tuple[Tensor, Tensor]:
    """Compute predicted classes and margins of scores that may list only the best classes.

    A class with probability 0 is not listed. Its score is at most the lowest listed one, so that the margin of a class
    that is not listed is at least the difference between the highest and the lowest listed score. A tie with the best
    other class is no prediction of the class.

    Args:
        logits: (n, K), log-probabilities if ``probabilities``.
        y: (n,), int64, classes.
        probabilities: Whether the classifier answers probabilities.

    Returns:
        Predicted classes (n,) int64, -1 if a score is not finite, and margins (n,), infinite there.
    """
    finite = logits.isfinite().all(1)
    scores = logits.double()
    if probabilities:
        listed = logits > torch.log(logits.new_tensor(LISTED))
        listed = listed | ~listed.any(1, keepdim=True)
        least = scores.where(listed, torch.inf).amin(1, keepdim=True)
        scores = scores.where(listed, least - _BELOW)
    rival = best_other(scores, y)
    own, other = (scores.gather(1, which[:, None])[:, 0] for which in (y, rival))
    margin = (other - own).float()
    return torch.where(own > other, y, rival).where(finite, -1), margin.where(finite, torch.inf)
