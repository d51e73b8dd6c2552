"""Superpixels that contribute most to a fix, and whether each alone is sufficient or necessary.

Source: ours, docs/methods/inverted.md. A minimal fix ends on the boundary, where every part of it is necessary and no
part is sufficient, whatever the parts are. Both are therefore tested on the fix extended by ``beyond``: with the
default of 0.5 and a margin that decreases evenly, a region is necessary if it contributes over 1/3 of the decrease,
and sufficient if it contributes over 2/3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from whywrong.attacks.inverted.config import InvertedConfig
from whywrong.attacks.inverted.region_fix import is_right
from whywrong.attacks.inverted.segments import segment_sums
from whywrong.models.classifier import Classifier


@dataclass(frozen=True, slots=True, eq=False)
class ListedRegions:
    """The regions of each fix with the largest shares.

    Attributes:
        regions: B lists, by decreasing share, of ``segment`` (number of the superpixel), ``share`` (of the
            contribution; all superpixels together 1, some negative), ``area`` (of the image), ``lift`` (share of the
            region that lies on the object, over the object's share of the image, weighted by ``|contribution|``; None
            if no object is known), ``sufficient`` and ``necessary`` (None if not tested).
        forwards: (B,), int64.
    """

    regions: list[list[dict[str, Any]]]
    forwards: Tensor


def list_regions(
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    delta: Tensor,
    contribution: Tensor,
    segments: Tensor,
    masks: Tensor | None,
    *,
    config: InvertedConfig,
) -> ListedRegions:
    """List the superpixels with the largest shares and test the first of them.

    ``config.regions`` are listed and ``config.tested_regions`` tested.

    Args:
        classifier: Maps images (B, C, H, W) in [0, 1] to logits (B, K).
        x: (B, C, H, W), misclassified images.
        y: (B,), int64, true classes.
        delta: (B, C, H, W), changes that fix them.
        contribution: (B, H, W), signed contributions of the pixels of ``delta``.
        segments: (B, H, W), int64, superpixels.
        masks: (B, H, W), bool, the object, all False if unknown, or None.
        config: Settings.

    Returns:
        The regions; two forward passes per tested region.
    """
    count = int(segments.max()) + 1 if segments.numel() else 1
    area = segment_sums(torch.ones_like(contribution), segments, count)
    total = contribution.sum((1, 2))
    share = segment_sums(contribution, segments, count) / torch.where(total == 0, 1, total)[:, None]
    shown = share.masked_fill(area == 0, -torch.inf).topk(min(config.regions, count), dim=1)
    lift = _lifts(contribution, segments, masks, count)

    further = (x + (1 + config.beyond) * delta).clamp(0, 1) - x
    sufficient, necessary = [], []
    tested = min(config.tested_regions, shown.indices.shape[1])
    for place in range(tested):
        inside = (segments == shown.indices[:, place].view(-1, 1, 1))[:, None]
        alone = classifier.logits(x + further * inside)
        without = classifier.logits(x + further * ~inside)
        sufficient.append(is_right(alone, y, config.safety).tolist())
        necessary.append((~is_right(without, y, config.safety)).tolist())

    area = area / contribution[0].numel() if len(x) else area
    columns = (shown.indices, shown.values, area.gather(1, shown.indices), lift.gather(1, shown.indices))
    regions: list[list[dict[str, Any]]] = []
    for row, found in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
        regions.append(
            [
                {
                    "segment": segment,
                    "share": part,
                    "area": size,
                    "lift": None if on_object != on_object else on_object,
                    "sufficient": sufficient[place][row] if place < tested else None,
                    "necessary": necessary[place][row] if place < tested else None,
                }
                for place, (segment, part, size, on_object) in enumerate(zip(*found, strict=True))
                if size > 0
            ]
        )
    return ListedRegions(regions, torch.full((len(x),), 2 * tested, dtype=torch.int64, device=x.device))


def _lifts(contribution: Tensor, segments: Tensor, masks: Tensor | None, count: int) -> Tensor:
    """Compute the object lift (B, S) of each superpixel.

    NaN if the object is unknown or covers everything.
    """
    amount = contribution.abs()
    whole = segment_sums(amount, segments, count)
    if masks is None:
        return torch.full_like(whole, torch.nan)
    object_area = masks.float().mean((1, 2))[:, None]
    lift = segment_sums(amount * masks, segments, count) / (whole * object_area)
    return lift.where((object_area > 0) & (object_area < 1) & (whole > 0), torch.nan)
