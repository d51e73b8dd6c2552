"""Correct the scores of a surrogate for each image by what the black box answered to that image and its variants.

A surrogate is right on average and wrong at this image: it often sees the true class already, or another rival. For
each image, the residuals between both are fitted by kernel ridge regression on the surrogate's own scores, with the
kernel 1 + <z - z0, p - p0> / s, where z0 and p0 are scores of the unchanged image. One answer gives a bias per class;
further answers along a direction also correct how fast the scores change there. The fit belongs to one image, so that
results do not depend on the rest of the batch.

Source: ours, docs/methods/black_box.md; refinement of a surrogate from query feedback as Yang et al. 2020, arXiv
2010.11742, who retrain the network instead.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

RIDGE = 1e-3
LEAD = 1.0  # nats by which an observed label leads all other classes, where only labels are known


@dataclass(frozen=True, slots=True, eq=False)
class Correction:
    """Correction of the log-probabilities of one surrogate, for each of B images.

    Attributes:
        points: Log-probabilities of the surrogate at the images that were asked, (B, n, K); the first is the unchanged
            image.
        weights: Weights of the kernel, (B, n, K).
        scale: Scale s of the kernel, (B,).
    """

    points: Tensor
    weights: Tensor
    scale: Tensor

    def apply(self, scores: Tensor, rows: slice | Tensor) -> Tensor:
        """Correct log-probabilities (b, K) of the images of ``rows``; differentiable."""
        points, weights, scale = (
            part[rows].to(scores.device, copy=True) for part in (self.points, self.weights, self.scale)
        )
        return scores + torch.einsum("bn,bnk->bk", _kernel(scores[:, None], points, scale)[:, 0], weights)

    def at(self, rows: Tensor) -> Correction:
        """Select the corrections of some images, by index or mask."""
        return Correction(self.points[rows], self.weights[rows], self.scale[rows])


def fit_correction(points: Tensor, residuals: Tensor) -> Correction:
    """Fit the correction to residuals at the images that were asked.

    Args:
        points: Log-probabilities of the surrogate, (B, n, K); the first is the unchanged image.
        residuals: What must be added to them, (B, n, K).
    """
    moved = (points - points[:, :1]).square().sum(2).mean(1)
    scale = moved.clamp_min(1e-6)
    gram = _kernel(points, points, scale)
    ridge = RIDGE * torch.eye(points.shape[1], dtype=points.dtype, device=points.device)
    return Correction(points, torch.linalg.solve(gram + ridge, residuals), scale)


def score_residuals(points: Tensor, answered: Tensor) -> Tensor:
    """Compute residuals (B, n, K) between log-probabilities of the black box and of the surrogate."""
    return answered - points


def label_residuals(points: Tensor, predicted: Tensor) -> Tensor:
    """Compute the least residuals (B, n, K) that make each observed label lead by ``LEAD`` nats.

    Args:
        points: Log-probabilities of the surrogate, (B, n, K).
        predicted: Labels of the black box, (B, n), int64.
    """
    label = predicted[..., None]
    others = points.scatter(2, label, -torch.inf).amax(2, keepdim=True)
    missing = (others + LEAD - points.gather(2, label)).clamp_min(0)
    return torch.zeros_like(points).scatter(2, label, missing)


def _kernel(scores: Tensor, points: Tensor, scale: Tensor) -> Tensor:
    """Compute the kernel (b, m, n) between scores (b, m, K) and points (b, n, K)."""
    start = points[:, :1]
    return 1 + torch.einsum("bmk,bnk->bmn", scores - start, points - start) / scale[:, None, None]
