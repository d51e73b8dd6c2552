"""Drawn objects halfway to the class that the classifier finds nearest."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from whywrong.data.planted import NAMES, TWINS, render
from whywrong.planting.batch import Candidate, PlantingBatch

_SHARES = (0.25, 0.32, 0.38, 0.43, 0.48)  # of the other object, by severity


@dataclass(frozen=True, slots=True, eq=False)
class Blend:
    """Cross-fade of an object with the one of its nearest class, in the same scene.

    Attributes:
        nearest: (K,), int64, nearest class of each class.
    """

    nearest: Tensor

    def apply(self, batch: PlantingBatch, severity: int) -> Candidate:
        """Fade in the object of the nearest class, which the classifier must predict; the own object stays stronger."""
        assert batch.scene is not None
        other = self.nearest[batch.y]
        without = torch.tensor([NAMES.index(less) for _, less in TWINS])
        whole = torch.where(torch.isin(other, without), 0.0, 1.0)
        drawn = render(batch.scene.but(label=other, extent=whole), batch.x.shape[-1]).images.float() / 255
        share = _SHARES[severity - 1]
        return Candidate(torch.lerp(batch.x, drawn, share), batch.y, f"{share:.0%} of the other", other)


def nearest_classes(logits: Tensor, y: Tensor) -> Tensor:
    """Return the nearest class (K,) of each class, the one whose mean logit is highest on images of the class.

    Args:
        logits: (N, K) of correct images.
        y: (N,), int64, their class.
    """
    count = logits.shape[1]
    total = logits.new_zeros(count, count).index_add_(0, y, logits)
    mean = total / torch.bincount(y, minlength=count).clamp_min(1)[:, None]
    return mean.fill_diagonal_(-torch.inf).argmax(1)
