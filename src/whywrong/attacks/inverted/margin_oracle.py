"""Margins toward the labels, with every pass counted per image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from whywrong.core.checks import check_labels
from whywrong.core.margins import error_margin
from whywrong.models.classifier import Classifier


@dataclass(slots=True, eq=False)
class Linearization:
    """Images of a batch with their margins and gradients.

    Attributes:
        pixels: (n, C, H, W), in [0, 1].
        margin: (n,), best other class minus true class, logits.
        right: (n,), bool, whether the margin is negative by more than the safety.
        slack: (n,), the safety in logits.
        grad: (n, C, H, W), gradient of the margin; (n, R, C, H, W) of the margins over R rivals; or None.
        rival_margins: (n, R), margins over the R highest-scoring rivals, the first being ``margin``; or None.
    """

    pixels: Tensor
    margin: Tensor
    right: Tensor
    slack: Tensor
    grad: Tensor | None = None
    rival_margins: Tensor | None = None

    def at(self, rows: Tensor) -> Linearization:
        """Select the points of some rows."""
        return Linearization(*(None if part is None else part[rows] for part in self._parts()))  # type: ignore[arg-type]

    def put(self, rows: Tensor, other: Linearization) -> None:
        """Overwrite some rows."""
        for mine, theirs in zip(self._parts(), other._parts(), strict=True):
            if mine is not None and theirs is not None:
                mine[rows] = theirs

    def _parts(self) -> tuple[Tensor | None, ...]:
        return self.pixels, self.margin, self.right, self.slack, self.grad, self.rival_margins

    def clone(self) -> Linearization:
        """Return an independent copy."""
        return Linearization(*(None if part is None else part.clone() for part in self._parts()))  # type: ignore[arg-type]


class MarginOracle:
    """Evaluates changed images with the classifier and counts the passes.

    Args:
        classifier: Grants gradients.
        y: (B,), true classes.
        safety: Share of the largest absolute logit by which a margin must be negative to count as correctly classified,
            so that the prediction is the same in another batch.
        away: Whether the goal is any class but ``y``: the sign of the margins is reversed, and ``right`` means that an
            image is misclassified.

    Attributes:
        forwards: (B,), int64, passes of each image so far.
        backwards: (B,), int64.
    """

    def __init__(self, classifier: Classifier, y: Tensor, safety: float, *, away: bool = False) -> None:
        self.classifier = classifier
        self.y = y
        self.safety = safety
        self._sign = -1.0 if away else 1.0
        self._checked = False
        self.forwards = torch.zeros_like(y)
        self.backwards = torch.zeros_like(y)

    def test(self, rows: Tensor, pixels: Tensor) -> Linearization:
        """Evaluate ``pixels`` (n, C, H, W) of ``rows`` (n,) with one forward pass each."""
        self.forwards.index_add_(0, rows, torch.ones_like(rows))
        logits = self.classifier.logits(pixels)
        return self._judge(pixels, logits, self._margin(logits, self.y[rows]))

    def linearise(self, rows: Tensor, pixels: Tensor, rivals: int = 1, *, entropy: bool = False) -> Linearization:
        """Linearise the margin with one forward pass and one backward pass per rival.

        Args:
            rows: (n,), int64, indices of the images in the batch.
            pixels: (n, C, H, W).
            rivals: Number of other classes, highest-scoring first, whose margins are differentiated.
            entropy: Differentiate the cross entropy of the true class instead of the margin.
        """
        y = self.y[rows]

        def objective(logits: Tensor, part: slice) -> Tensor:
            if not self._checked:
                check_labels(self.y, len(self.y), logits.shape[1])
                self._checked = True
            target = y[part].to(logits.device, copy=True)  # no inference tensor may enter the graph
            if entropy:
                return self._sign * (logits.logsumexp(1) - logits.gather(1, target[:, None])[:, 0])
            if rivals == 1:
                return self._margin(logits, target)
            others = logits.scatter(1, target[:, None], -torch.inf)
            nearest = others.topk(min(rivals, logits.shape[1] - 1), dim=1).values
            return nearest - logits.gather(1, target[:, None])

        logits, value, grad = self.classifier.gradient(pixels, objective)
        self.forwards.index_add_(0, rows, torch.ones_like(rows))
        self.backwards.index_add_(0, rows, torch.full_like(rows, value.shape[1] if value.ndim == 2 else 1))
        points = self._judge(pixels, logits, self._margin(logits, y))
        points.grad = torch.nan_to_num_(grad, 0.0, 0.0, 0.0)
        points.rival_margins = value if value.ndim == 2 else None
        return points

    def _margin(self, logits: Tensor, y: Tensor) -> Tensor:
        return self._sign * error_margin(logits, y)

    def _judge(self, pixels: Tensor, logits: Tensor, margin: Tensor) -> Linearization:
        slack = self.safety * logits.abs().amax(1)
        return Linearization(pixels, margin, margin < -slack, slack)
