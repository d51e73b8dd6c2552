"""Interpretability score, the share of a change that lies in the region of a class activation map.

Source: Xu et al. 2019, arXiv 1904.02057, and the same form in Xu et al. 2019, arXiv 1808.01664 (norm of the masked
change over its norm); equal-area regions, the energy excess and the control with the maps of other images are
ours, docs/methods/suppression.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from whywrong.core.errors import InputError
from whywrong.core.randomness import keyed_uniform, row_keys
from whywrong.data.corruptions.filters import gaussian_filter

AREAS = (0.15, 0.30, 0.50)
PEAK_SHARE = 0.2  # of the maximum of a map, the region of Zhou et al. 2016


def enlarged(maps: Tensor, height: int, width: int) -> Tensor:
    """Resize maps (B, M, h, w) to (B, M, H, W) bilinearly."""
    return nn.functional.interpolate(maps.float(), (height, width), mode="bilinear", align_corners=False)


def top_regions(maps: Tensor, area: float) -> Tensor:
    """Select the pixels with the highest values of each map, all regions of one size.

    Args:
        maps: (B, M, H, W).
        area: Share of the pixels, in (0, 1]; rounded to whole pixels, at least one.

    Returns:
        (B, M, H, W) bool; empty for a constant map, which has no highest pixels, and for one that is not finite.
    """
    if not 0 < area <= 1:
        raise InputError(f"area must be a share in (0, 1], got {area}")
    flat = maps.flatten(2)
    count = max(1, round(area * flat.shape[2]))
    usable = flat.isfinite().all(2) & (flat.amax(2) > flat.amin(2))
    order = flat.nan_to_num(0.0).argsort(dim=2, descending=True, stable=True)[:, :, :count]
    chosen = torch.zeros_like(flat, dtype=torch.bool).scatter_(2, order, True)
    return (chosen & usable[:, :, None]).view(maps.shape)


def peak_regions(maps: Tensor, share: float = PEAK_SHARE) -> Tensor:
    """Select the pixels (B, M, H, W) bool above a share of the maximum of each map.

    Empty if the maximum is not positive or not finite.
    """
    peak = maps.flatten(2).amax(2)[:, :, None, None]
    return (maps > share * peak) & (peak > 0) & peak.isfinite()


@dataclass(frozen=True, slots=True, eq=False)
class Interpretability:
    """How a change lies in the regions of M maps, one region of each area per map.

    NaN for a map without a region, and for a change of zero.

    Attributes:
        score: (B, M, Q) float64, ``||B * delta||_2 / ||delta||_2`` in [0, 1].
        excess: (B, M, Q) float64, (score^2 - q) / (1 - q) with the share q of pixels in the region; 1 if all of the
            change is inside, 0 for a uniform change, negative if it avoids the region.
        overlap: (B, M, Q) float64, intersection over union of the region with as many pixels of the smoothed change.
    """

    score: Tensor
    excess: Tensor
    overlap: Tensor


def interpretability(delta: Tensor, maps: Tensor, areas: Sequence[float] = AREAS) -> Interpretability:
    """Measure how much of a change lies in the regions of class activation maps.

    Args:
        delta: (B, C, H, W), the change.
        maps: (B, M, h, w), signed maps of any resolution; negative values are kept, as the region takes the highest.
        areas: Shares q of the pixels in a region.

    Returns:
        Scores; a uniform change scores sqrt(q), whatever the map is.
    """
    return score_regions(delta, regions_of(maps, delta.shape[2], delta.shape[3], areas), changed_most(delta, areas))


def regions_of(maps: Tensor, height: int, width: int, areas: Sequence[float] = AREAS) -> Tensor:
    """Select the regions (B, M, Q, H, W) bool of maps (B, M, h, w), one of each area."""
    large = enlarged(maps, height, width)
    return torch.stack([top_regions(large, area) for area in areas], 2)


def changed_most(delta: Tensor, areas: Sequence[float] = AREAS) -> Tensor:
    """Select the pixels (B, 1, Q, H, W) bool that a smoothed change touches most."""
    smooth = gaussian_filter(delta.norm(dim=1, keepdim=True), max(delta.shape[2:]) / 64)
    return torch.stack([top_regions(smooth, area) for area in areas], 2)


def score_regions(delta: Tensor, regions: Tensor, changed: Tensor) -> Interpretability:
    """Measure how much of a change lies in regions.

    Args:
        delta: (B, C, H, W), the change.
        regions: (B, M, Q, H, W) bool.
        changed: (B, 1, Q, H, W) bool, the pixels that the change touches most, for the overlap.
    """
    energy = delta.double().square().sum(1)  # (B, H, W)
    share = regions.double().mean((3, 4))
    inside = (energy[:, None, None] * regions).sum((3, 4))
    ratio = (inside / energy.sum((1, 2))[:, None, None]).masked_fill(share == 0, torch.nan)
    joint = (regions & changed).sum((3, 4))
    union = (regions | changed).sum((3, 4))
    return Interpretability(
        score=ratio.sqrt(),
        excess=((ratio - share) / (1 - share)).masked_fill(share == 1, torch.nan),
        overlap=(joint / union).double().masked_fill((share == 0) | ~changed.any(4).any(3), torch.nan),
    )


def of_other_images(
    delta: Tensor, maps: Tensor, areas: Sequence[float] = AREAS, *, shifts: int = 20, seed: int = 0
) -> Tensor:
    """Score each change in the regions of the maps of other images, the control for centre bias.

    Args:
        delta: (B, C, H, W).
        maps: (B, M, h, w).
        areas: As for :func:`interpretability`.
        shifts: Most other images per image, drawn by a random order of the images.
        seed: Seed of that order.

    Returns:
        (B, M, Q) float64, mean scores over the other images; NaN with fewer than two images.
    """
    images = len(delta)
    regions, changed = regions_of(maps, delta.shape[2], delta.shape[3], areas), changed_most(delta, areas)
    order = keyed_uniform(row_keys(seed, images, delta.device), ()).argsort()
    total = maps.new_zeros((images, maps.shape[1], len(areas)), dtype=torch.float64)
    used = min(shifts, images - 1)
    if used < 1:
        return total.fill_(torch.nan)
    for shift in range(1, used + 1):
        partner = torch.empty_like(order)
        partner[order] = order.roll(-shift)
        total += score_regions(delta, regions[partner], changed).score
    return total / used
