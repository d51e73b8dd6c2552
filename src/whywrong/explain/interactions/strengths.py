"""From sums of draws to the strength of the interactions of one order: A, M, parts, debiased square, their errors.

The unit of all errors is the independent draw (a context, a shared set, a permutation), never the single D: draws of
different pairs from one set are correlated. Errors of pair means are those of a ratio of sums; errors of an image's
statistics come from the jackknife over units. They speak of the pairs that were asked for, not of all pairs.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from whywrong.explain.interactions.draws import Sums


@dataclass(frozen=True, slots=True)
class Strengths:
    """Of one order. Images B, pairs P, values V; NaN where nothing was drawn.

    Attributes:
        mean: (B, P, V), I, mean of D over the draws of a pair.
        mean_se: (B, P, V), its standard error.
        draws: (B, P) int64, contexts really used.
        A: (B, V), mean over pairs of |I|; biased upwards by noise.
        M: (B, V), mean over pairs of I.
        pos, neg: (B, V), mean over pairs of max(I, 0) and max(-I, 0).
        positive: (B, V), share of pairs with I > 0.
        U: (B, V), unbiased estimate of the mean over pairs of the squared interaction; may fall below 0.
        A_se, M_se, pos_se, neg_se, U_se: (B, V), standard errors from the jackknife; 0 where exact.
        noise_share: (B, V) in [0, 1], share of the mean of I^2 that is sampling noise.
        disentanglement: (B, V) in [0, 1], sum over pairs of |mean D| through sum of mean |D|; 1: one sign in every
            context, 0: it cancels; NaN where all D are 0.
    """

    mean: Tensor
    mean_se: Tensor
    draws: Tensor
    A: Tensor
    M: Tensor
    pos: Tensor
    neg: Tensor
    positive: Tensor
    U: Tensor
    A_se: Tensor
    M_se: Tensor
    pos_se: Tensor
    neg_se: Tensor
    U_se: Tensor
    noise_share: Tensor
    disentanglement: Tensor

    @staticmethod
    def join(parts: list[Strengths]) -> Strengths:
        """Join the strengths of blocks of images."""
        return Strengths(**{f.name: torch.cat([getattr(part, f.name) for part in parts]) for f in fields(Strengths)})


def strengths(sums: Sums) -> Strengths:
    """Compute the statistics of the draws of one order.

    The unbiased square of a pair is the mean product of draws of two different units, which equals
    ``I^2 - s_D^2 / K`` for K independent draws.
    """
    total, count = sums.total, sums.count.double()[..., None]  # (B, U, P, V), (B, U, P, 1)
    all_total, all_count = total.sum(1), count.sum(1)  # (B, P, V), (B, P, 1)
    mean = all_total / all_count
    if sums.exact:
        square = mean.square()
        mean_se = torch.zeros_like(mean)
        errors = [torch.zeros_like(mean[:, 0])] * 5
    else:
        squares, count_squares = total.square().sum(1), count.square().sum(1)
        square = _square(all_total, squares, all_count, count_squares)
        ran = torch.ones(total.shape[:2], dtype=torch.bool) if sums.ran is None else sums.ran
        units = ran.sum(1).view(-1, 1, 1)
        residual = (total - count * mean[:, None]).square().sum(1)
        mean_se = (residual * units / (units - 1)).sqrt() / all_count
        left_total, left_count = all_total[:, None] - total, all_count[:, None] - count
        left_square = _square(
            left_total, squares[:, None] - total.square(), left_count, count_squares[:, None] - count.square()
        )
        left = _over_pairs(left_total / left_count, left_square)
        errors = [jackknife_se(replicates, ran) for replicates in left]
    A, M, pos, neg, U = _over_pairs(mean, square)
    raw = mean.square().nanmean(1)
    spread = (sums.absolute / all_count).nansum(1)
    return Strengths(
        mean=mean,
        mean_se=mean_se,
        draws=sums.count.sum(1),
        A=A,
        M=M,
        pos=pos,
        neg=neg,
        positive=(mean > 0).double().where(mean.isfinite(), torch.nan).nanmean(1),
        U=U,
        **dict(zip(("A_se", "M_se", "pos_se", "neg_se", "U_se"), errors, strict=True)),
        noise_share=noise_share(U, raw),
        disentanglement=mean.abs().nansum(1) / spread,
    )


def noise_share(U: Tensor, raw: Tensor) -> Tensor:
    """Return the share in [0, 1] of a mean square ``raw`` that is sampling noise.

    ``U`` is its unbiased part; 0 if nothing interacts.
    """
    return torch.where(raw > 0, 1 - U / raw, 0.0).clamp(0, 1)


def _square(total: Tensor, squares: Tensor, count: Tensor, count_squares: Tensor) -> Tensor:
    """Mean product of two different units; NaN where fewer than two hold draws of the pair."""
    products = count.square() - count_squares
    return torch.where(products > 0, (total.square() - squares) / products, torch.nan)


def _over_pairs(mean: Tensor, square: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """A, M, pos, neg, U of (..., P, V), each (..., V)."""
    parts = (mean.abs(), mean, mean.clamp_min(0), (-mean).clamp_min(0), square)
    A, M, pos, neg, U = (part.nanmean(-2) for part in parts)
    return A, M, pos, neg, U


def jackknife_se(replicates: Tensor, ran: Tensor | None = None) -> Tensor:
    """Compute the standard error (B, ...) from replicates (B, U, ...).

    Each replicate leaves one of U units out.

    Args:
        replicates: The statistic, a unit less each time.
        ran: (B, U) bool, the units that there are; None for all.
    """
    ran = torch.ones(replicates.shape[:2], dtype=torch.bool) if ran is None else ran
    ran = ran.view(*ran.shape, *[1] * (replicates.ndim - 2))
    units = ran.sum(1)
    mean = replicates.where(ran, 0).sum(1, keepdim=True) / units[:, None]
    return ((replicates - mean).where(ran, 0).square().sum(1) * (units - 1) / units).sqrt()
