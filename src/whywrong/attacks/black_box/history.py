"""What the black box answered about each image, and the correction of a surrogate by it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from whywrong.attacks.surrogates.answers import log_scores
from whywrong.attacks.surrogates.correction import Correction, fit_correction, label_residuals, score_residuals
from whywrong.models.classifier import Classifier


class History:
    """Answers about a batch of images and their changed versions, beside the scores of the surrogate there.

    Args:
        models: Models of the surrogate.
        x: Unchanged images, (B, C, H, W).
        y: True classes, (B,).
        known: Logits (B, K) of the black box at ``x``, or its labels (B,) int64.
        open_rows: Rows (n,) that are searched; the others are not computed.

    Attributes:
        passes: (B,), int64, forward and backward passes of the surrogate so far.
    """

    def __init__(self, models: Sequence[Classifier], x: Tensor, y: Tensor, known: Tensor, open_rows: Tensor) -> None:
        self.models, self.x, self.y = models, x, y
        self.passes = torch.zeros_like(y)
        self._places = torch.full_like(y, -1)
        self._places[open_rows] = torch.arange(len(open_rows), device=y.device)
        first = [self._ask(model, open_rows, x[open_rows]) for model in models]
        answered = known[open_rows]
        self._points = [one[:, None] for one in first]  # (n, 1, K) each
        self._residuals = [
            score_residuals(one, log_scores(answered)[:, None])
            if known.ndim == 2
            else label_residuals(one, answered[:, None])
            for one in self._points
        ]

    def add(self, rows: Tensor, pixels: Tensor, label: Tensor, margin: Tensor) -> None:
        """Add the answers to one changed version each of ``rows`` (n,).

        A margin says by how much the label leads the true class; without it, the label leads all classes.
        """
        at = self._places[rows]
        for index, model in enumerate(self.models):
            points, residuals = self._points[index], self._residuals[index]
            scores = self._ask(model, rows, pixels)
            start = residuals[at, 0]
            told = start + self._difference(scores + start, rows, label, margin)
            # Rows without an answer this time repeat their first one, which changes nothing.
            new_points, new_residuals = points[:, 0].clone(), residuals[:, 0].clone()
            usable = label >= 0
            new_points[at[usable]], new_residuals[at[usable]] = scores[usable], told[usable]
            self._points[index] = torch.cat([points, new_points[:, None]], 1)
            self._residuals[index] = torch.cat([residuals, new_residuals[:, None]], 1)

    def corrections(self, rows: Tensor) -> list[Correction]:
        """Fit the correction of each model to all answers about ``rows`` (n,)."""
        at = self._places[rows]
        pairs = zip(self._points, self._residuals, strict=True)
        return [fit_correction(points[at], residuals[at]) for points, residuals in pairs]

    def _difference(self, scores: Tensor, rows: Tensor, label: Tensor, margin: Tensor) -> Tensor:
        """Compute what to add to corrected log-probabilities (n, K), so that they agree with label and margin."""
        label = label.clamp_min(0)
        by_label = label_residuals(scores[:, None], label[:, None])[:, 0]
        y = self.y[rows, None]
        lead = scores.gather(1, label[:, None]) - scores.gather(1, y)
        half = (margin.to(scores)[:, None] - lead) / 2
        half = half.where(half.isfinite(), 0.0)
        by_margin = torch.zeros_like(scores).scatter_add(1, label[:, None], half).scatter_add(1, y, -half)
        return by_label.where(margin.isnan()[:, None], by_margin)

    def _ask(self, model: Classifier, rows: Tensor, pixels: Tensor) -> Tensor:
        self.passes.index_add_(0, rows, torch.ones_like(rows))
        return log_scores(torch.nan_to_num(model.logits(pixels), 0.0)).to(pixels.device)
