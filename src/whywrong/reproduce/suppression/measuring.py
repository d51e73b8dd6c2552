"""Pairs that the claims of promotion and suppression share, measured once per call.

Targeted changes are smallest changes of correct images into a random other class; errors are paired with their smallest
fix. Both come from :func:`whywrong.attacks.inverted.invert`, so that they end on the boundary alike.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from whywrong.attacks.inverted import InvertedConfig, invert
from whywrong.core.errors import InputError
from whywrong.core.randomness import row_keys
from whywrong.explain.suppression.cells import grid_cells
from whywrong.explain.suppression.controls import with_random_signs
from whywrong.explain.suppression.curves import Curves, ranking_curves
from whywrong.explain.suppression.effects import Pairs, left_out
from whywrong.explain.suppression.measures import Scores, TypeShares, effect_strength, threshold, type_shares
from whywrong.models.classifier import Classifier
from whywrong.reproduce.null_cases import random_labels
from whywrong.reproduce.protocol import ClaimContext, LabelledImages

Kind = Literal["targeted", "errors"]
BEYOND = 1.5  # length of a change, in units of the smallest, of which parts are tested


@dataclass(frozen=True, slots=True, kw_only=True)
class SuppressionClaimConfig:
    """Settings of the claims of ``suppression``.

    Attributes:
        limit: Most correct images, and most errors, to use, the first in the order of the data.
        grid: Cells a side of the grid.
        least: Mean share that every type must have to count as occurring.
        enough: Share of the changes that the strongest half of their cells must keep.
        seed: Seed of target classes, random signs and orders.
    """

    limit: int = 200
    grid: int = 8
    least: float = 0.05
    enough: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise InputError(f"limit must be at least 1, got {self.limit}")
        if not 2 <= self.grid <= 64:
            raise InputError(f"grid must be in 2..64 cells a side, got {self.grid}")
        for name in ("least", "enough"):
            if not 0 < getattr(self, name) < 1:
                raise InputError(f"{name} must be a share in (0, 1), got {getattr(self, name)}")


@dataclass(frozen=True, slots=True, eq=False)
class MeasuredPairs:
    """Effects of N pairs.

    Attributes:
        pairs: The pairs; None if there are none.
        s: (N, G) float64, suppression.
        g: (N, G) float64, promotion.
        shares: Shares of the types.
        control: Those of the same changes with random signs.
        curves: Predictions with parts of changes half as long again.
    """

    pairs: Pairs
    s: Tensor
    g: Tensor
    shares: TypeShares
    control: TypeShares
    curves: Curves


def measured(context: ClaimContext[SuppressionClaimConfig], kind: Kind) -> MeasuredPairs | None:
    """Measure the pairs of a kind, or take them from the cache; None if there are none."""
    key = ("suppression", kind, context.config)
    if key not in context.cache:
        with context.classifier:
            x, y = _images(context.classifier, context.data, context.config, kind)
            context.report_progress(f"compare {kind}", 0, len(x))
            context.cache[key] = _measure(context.classifier, x, y, context.config, kind) if len(x) else None
            context.report_progress(f"compare {kind}", len(x), len(x))
    return context.cache[key]


def _images(
    classifier: Classifier, data: LabelledImages, config: SuppressionClaimConfig, kind: Kind
) -> tuple[Tensor, Tensor]:
    """Take the first correct images, or the first errors."""
    images: list[Tensor] = []
    labels: list[Tensor] = []
    found = 0
    for x, y, _ in data.batches(classifier):
        logits, _ = classifier.logits_or_faults(x)
        right = logits.argmax(1) == y
        rows = ((right if kind == "targeted" else ~right) & logits.isfinite().all(1)).nonzero().flatten()
        rows = rows[: config.limit - found]
        found += len(rows)
        images.append(x[rows])
        labels.append(y[rows])
        if found >= config.limit:
            break
    return (torch.cat(images), torch.cat(labels)) if images else (torch.zeros(0, 3, 1, 1), torch.zeros(0).long())


def _measure(
    classifier: Classifier, x: Tensor, y: Tensor, config: SuppressionClaimConfig, kind: Kind
) -> MeasuredPairs | None:
    keys = row_keys(config.seed, len(x), x.device)
    predicted = classifier.logits(x).argmax(1)
    into = y if kind == "errors" else random_labels(classifier.num_classes, y, seed=config.seed)[:, 0].to(y)
    found = invert(
        classifier, x, into, keys=keys, detail=torch.zeros_like(y, dtype=torch.bool), config=InvertedConfig()
    )
    kept = found.fixed
    if not bool(kept.any()):
        return None
    changed = (x + found.delta)[kept]
    x, into, predicted, keys = x[kept], into[kept], predicted[kept], keys[kept]
    ref, alt, a, b = (changed, x, into, predicted) if kind == "errors" else (x, changed, predicted, into)
    cells = grid_cells(config.grid, *x.shape[2:]).to(x.device).expand(len(x), -1, -1)
    unlikely = torch.zeros_like(kept[kept])
    pairs = Pairs(ref=ref, alt=alt, a=a, b=b, cells=cells, count=config.grid**2, probabilities=unlikely)
    s, g, eps = _effects(classifier, pairs)
    control = _effects(classifier, with_random_signs(pairs, keys))
    longer = (x + BEYOND * (changed - x)).clamp(0, 1)
    further = replace(pairs, ref=longer) if kind == "errors" else replace(pairs, alt=longer)
    curves = ranking_curves(classifier, further, effect_strength(s, g, eps[:, None]), keys)
    return MeasuredPairs(pairs, s, g, type_shares(s, g, eps), type_shares(*control), curves)


def _effects(classifier: Classifier, pairs: Pairs) -> tuple[Tensor, Tensor, Tensor]:
    """Compute suppression and promotion (N, G), and thresholds (N,)."""
    every = torch.arange(len(pairs), device=pairs.alt.device)
    logits = [classifier.logits(images) for images in (pairs.ref, pairs.alt)]
    ends = Scores(torch.stack([pairs.scores(z, every).values for z in logits], 1))
    found = left_out(classifier, pairs, ends, "remove").under("raw")
    return -found[..., 0], found[..., 1], threshold(logits[1], None)
