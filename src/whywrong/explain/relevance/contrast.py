"""Contrast the relevance of two classes.

Sources: Gu, Yang and Tresp 2018, arXiv 1812.02100 (CLRP1 and CLRP2, with the start of their code). The difference of
the predicted and the true class is ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from whywrong.explain.relevance.config import UNIT, RelevanceConfig
from whywrong.explain.relevance.engine import Propagation, Relevance
from whywrong.explain.relevance.rules import Rules


@dataclass(frozen=True, slots=True, eq=False)
class Contrast:
    """Maps of one batch.

    Attributes:
        wrong, true: (B, H, W), relevance of pixels, summed over channels.
        of_wrong, of_true: Relevance of the two classes, before any contrast.
        residual: (B,) float64, worst share of all propagations.
        backwards: Backward passes per image.
        blank: (B,) bool, a class has no relevance to compare.
    """

    wrong: Tensor
    true: Tensor
    of_wrong: Relevance
    of_true: Relevance
    residual: Tensor
    backwards: int
    blank: Tensor


def contrast(made: Propagation, rules: Rules, classes: Tensor, config: RelevanceConfig) -> Contrast:
    """Propagate relevance of the classes t and y and contrast them.

    Args:
        made: Forward pass of the batch.
        rules: Its rules.
        classes: (2, B) int64, the classes t and y.
        config: Settings of the method.
    """
    number = made.logits.shape[1]
    unit = rules.name in UNIT
    sign = int(unit and made.last is not None)
    starts = [functional.one_hot(c, number).to(made.logits) for c in classes]
    found = [made.relevance(start, sign=sign) for start in starts]
    every, maps = list(found), [one.pixels.sum(1) for one in found]
    blank = torch.zeros(len(maps[0]), dtype=torch.bool, device=maps[0].device)
    if unit:
        maps, empty = zip(*map(_normalised, maps), strict=True)
        blank = torch.stack(empty).any(0)
    if config.contrast != "pair":
        duals = [_dual(made, start, sign, config) for start in starts]
        every += duals
        normalised = [_normalised(one.pixels.sum(1)) for one in duals]
        maps = [(own - other).clamp_min(0) for own, (other, _) in zip(maps, normalised, strict=True)]
        blank = blank | torch.stack([empty for _, empty in normalised]).any(0)
    scale = torch.stack([one.start.abs() for one in every]).amax(0)
    missing = torch.stack([one.residual.abs() for one in every]).amax(0)
    residual = torch.where(scale == 0, missing, missing / scale)
    return Contrast(maps[0], maps[1], found[0], found[1], residual, len(every), blank)


def _dual(made: Propagation, start: Tensor, sign: int, config: RelevanceConfig) -> Relevance:
    """Propagate what speaks against a class: all other classes (CLRP1), or its negated weights (CLRP2)."""
    if config.contrast == "clrp2":
        return made.relevance(start, sign=-1)
    z = made.logits
    values = {
        "abs_logit": z.abs(),
        "logit_relu": z.relu(),
        "softmax": z.softmax(1),
        "logit_minus_mean": z - z.mean(1, keepdim=True),
    }[config.start]
    return made.relevance(values * (1 - start), sign=sign)


def _normalised(relevance: Tensor) -> tuple[Tensor, Tensor]:
    """Divide maps (B, H, W) by their sums; also returns (B,) bool, whether a sum is zero."""
    total = relevance.sum((1, 2), keepdim=True, dtype=torch.float64)
    empty = total.abs() <= 1e-12
    return torch.where(empty, 0.0, relevance / torch.where(empty, 1.0, total)).float(), empty[:, 0, 0]
