"""Ask a classifier for predictions only, and isolate the images that it cannot answer."""

from __future__ import annotations

import torch
from torch import Tensor

from whywrong.attacks.queries.answers import Answers, is_listed, read_margin
from whywrong.core.access import Access
from whywrong.core.errors import ModelRaisedError
from whywrong.models.classifier import Classifier
from whywrong.models.endpoints.ledger import BudgetUsedUp
from whywrong.models.listed import listed_scores

PROBABILITIES = ("probabilities", "top", "binary-probability")


class BlackBox:
    """A classifier of which only predictions are asked.

    Args:
        classifier: Grants scores or labels.
        labels_only: Whether scores are left unread.
        targeted: Whether the goal is the class that is passed; otherwise any other class.
        exact: Whether the margin of a class that is not among the listed ones is NaN instead of a lower bound.
    """

    def __init__(self, classifier: Classifier, *, labels_only: bool, targeted: bool, exact: bool = False) -> None:
        self.classifier = classifier
        self.labels_only = labels_only or classifier.access < Access.TOP
        self.targeted, self.exact = targeted, exact
        self._lists = classifier.access == Access.TOP

    def ask(self, pixels: Tensor, y: Tensor) -> tuple[Answers, dict[int, str]]:
        """Ask images (n, C, H, W) of the classes ``y`` (n,) once each.

        Returns:
            Answers, not usable for images on which the model raised; and the message for each image that was not
            sent, since the budget of the endpoint is used up.
        """
        errors: dict[int, Exception] = {}
        if self.labels_only:
            answers = self.told(self._labels(pixels, errors), y)
        elif self._lists:
            answers = self.read(listed_scores(self.classifier, pixels, errors), y)
        else:
            answers = self.read(self.classifier.logits_or_faults(pixels, errors)[0], y)
        return answers, {row: str(error) for row, error in errors.items() if isinstance(error, BudgetUsedUp)}

    def read(self, logits: Tensor, y: Tensor) -> Answers:
        """Read logits (n, K)."""
        probabilities = self._lists or self.classifier.output in PROBABILITIES
        label, margin = read_margin(logits, y, probabilities=probabilities)
        if self.exact and self._lists:
            margin = margin.where(is_listed(logits, y) | (label < 0), torch.nan)
        return self.answers(label, margin if self.targeted else (-margin).where(label >= 0, torch.inf), y)

    def told(self, label: Tensor, y: Tensor) -> Answers:
        """Read predicted classes (n,)."""
        return self.answers(label, torch.full_like(label, torch.nan, dtype=torch.float32), y)

    def answers(self, label: Tensor, margin: Tensor, y: Tensor) -> Answers:
        """Combine classes (n,) and margins (n,); without scores, the classes decide."""
        reached = (label == y if self.targeted else label != y).where(margin.isnan(), margin < 0)
        return Answers(label, margin, reached & (label >= 0))

    def _labels(self, pixels: Tensor, errors: dict[int, Exception]) -> Tensor:
        """Ask for classes (n,); if the model raises, one image after the other, and -1 for those that fail."""
        try:
            return self.classifier.predict(pixels)
        except (ModelRaisedError, BudgetUsedUp) as error:
            if len(pixels) == 1:
                errors[0] = error
                return torch.full((1,), -1, dtype=torch.int64, device=pixels.device)
        half = len(pixels) // 2
        later: dict[int, Exception] = {}
        label = torch.cat([self._labels(pixels[:half], errors), self._labels(pixels[half:], later)])
        errors.update({half + row: error for row, error in later.items()})
        return label
