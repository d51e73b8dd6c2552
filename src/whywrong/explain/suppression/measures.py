"""Promotion and suppression of two scores, their ratio, and the type of a cell.

Source: Xu et al. 2019, arXiv 1904.02057 (suppression, promotion, their ratio and the three types). The neutral type,
signs, gauges and weights are ours, docs/methods/suppression.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Gauge = Literal["raw", "centred", "logprob"]
GAUGES: tuple[Gauge, ...] = ("raw", "centred", "logprob")
TYPES = ("suppression", "promotion", "balanced", "neutral")
SUPPRESSION, PROMOTION, BALANCED, NEUTRAL = range(4)
ABSENT = -1  # type of a cell without pixels
EPS = 1e-3  # logits
_USUAL_SPREAD = 0.1, 1000.0  # logits; outside of it, the threshold follows the spread
_SUM = 1e-4


def looks_like_probabilities(scores: Tensor) -> Tensor:
    """Find rows of scores (..., K) that lie in [0, 1] and sum to 1, (...) bool."""
    inside = (scores >= 0).all(-1) & (scores <= 1).all(-1)
    return inside & ((scores.sum(-1) - 1).abs() <= _SUM)


def as_logits(scores: Tensor, probabilities: Tensor) -> Tensor:
    """Take the logarithm of the rows of scores (B, K) that ``probabilities`` (B,) bool marks."""
    tiny = torch.finfo(scores.dtype).tiny
    return torch.where(probabilities[:, None], scores.clamp_min(tiny).log(), scores)


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Scores of the two classes, from which those under each gauge follow.

    Attributes:
        values: (..., 4) float64: logit of ``a``, logit of ``b``, mean of all logits, and their logsumexp.
    """

    values: Tensor

    @classmethod
    def of(cls, logits: Tensor, a: Tensor, b: Tensor) -> Scores:
        """Read the scores of classes ``a`` and ``b`` (B,) int64 from logits (B, K)."""
        z = logits.double()
        own = z.gather(1, torch.stack([a, b], 1))
        return cls(torch.cat([own, z.mean(1, keepdim=True), z.logsumexp(1, keepdim=True)], 1))

    def under(self, gauge: Gauge) -> Tensor:
        """Return the scores (..., 2) of ``a`` and ``b`` under a gauge.

        ``raw`` are the logits, ``centred`` the logits minus their mean over classes, ``logprob`` the log-probabilities
        in nats.
        """
        own = self.values[..., :2]
        if gauge == "raw":
            return own
        return own - self.values[..., 2 + (gauge == "logprob"), None]


def threshold(logits: Tensor, eps: float | None) -> Tensor:
    """Choose the effect (B,) below which a cell counts as neutral, in logits.

    ``eps`` if given; otherwise 1e-3, or 1e-3 times the spread (largest minus smallest logit) of an image whose spread
    is unusual, below 0.1 or above 1,000.
    """
    spread = (logits.amax(1) - logits.amin(1)).double()
    if eps is not None:
        return torch.full_like(spread, eps)
    low, high = _USUAL_SPREAD
    usual = (spread >= low) & (spread <= high)
    return torch.where(usual, EPS, (EPS * spread).clamp_min(torch.finfo(torch.float32).tiny))


def promotion_ratio(s: Tensor, g: Tensor, eps: Tensor) -> Tensor:
    """Compute the promotion-suppression ratio log2(max(g, eps) / max(s, eps)), in bits.

    Args:
        s: (...) suppression.
        g: (...) promotion.
        eps: Threshold, broadcast to them.
    """
    return (torch.maximum(g, eps) / torch.maximum(s, eps)).log2()


def effect_strength(s: Tensor, g: Tensor, eps: Tensor) -> Tensor:
    """Compute the strength max(s, eps) + max(g, eps), by which cells are ranked."""
    return torch.maximum(s, eps) + torch.maximum(g, eps)


def effect_types(s: Tensor, g: Tensor, eps: Tensor) -> Tensor:
    """Classify effects, int8, as the index in ``TYPES``.

    Suppression if the ratio is below -1, promotion above 1 (a factor of two), otherwise balanced; neutral if neither
    effect exceeds ``eps``. ``ABSENT`` if an effect is NaN, as in cells without pixels.
    """
    ratio = promotion_ratio(s, g, eps)
    kind = torch.full(ratio.shape, BALANCED, dtype=torch.int8, device=ratio.device)
    kind.masked_fill_(ratio < -1, SUPPRESSION).masked_fill_(ratio > 1, PROMOTION)
    kind.masked_fill_((s <= eps) & (g <= eps), NEUTRAL)
    return kind.masked_fill_(ratio.isnan(), ABSENT)


@dataclass(frozen=True, slots=True, eq=False)
class TypeShares:
    """Shares of the types over the cells of each image.

    Attributes:
        plain: (B, 4) float64, shares of the cells, in the order of ``TYPES``.
        weighted: (B, 3) float64, shares of the strength of all cells that are not neutral; NaN if all are.
        counter: (B,) float64, share of the cells with an effect below -eps, which work against the change.
    """

    plain: Tensor
    weighted: Tensor
    counter: Tensor


def type_shares(s: Tensor, g: Tensor, eps: Tensor) -> TypeShares:
    """Compute the shares of the types.

    Args:
        s: (B, G) float64, suppression of each cell, NaN for cells without pixels.
        g: (B, G) float64, promotion.
        eps: (B,) float64, threshold.
    """
    eps = eps[:, None]
    kind = effect_types(s, g, eps)
    there = kind != ABSENT
    each = torch.stack([kind == number for number in range(4)], 1).double()  # (B, 4, G)
    cells = there.sum(1, dtype=torch.float64)
    strength = effect_strength(s, g, eps).masked_fill(~there, 0.0)
    mass = (each[:, :3] * strength[:, None]).sum(2)
    against = ((s < -eps) | (g < -eps)) & there
    return TypeShares(
        plain=each.sum(2) / cells[:, None],
        weighted=mass / mass.sum(1, keepdim=True),
        counter=against.sum(1) / cells,
    )
