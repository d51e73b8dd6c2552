"""Overlap of the active positions of units with the masks of concepts, counted for all pairs by one matrix product.

Source: Bau et al. 2017, arXiv 1704.05796: a unit detects a concept if the intersection over union of its active
positions with the concept's masks exceeds 0.04.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from whywrong.core.errors import InputError

_PAIRS = 2**25  # elements enlarged at a time, 128 MB


@dataclass(frozen=True, slots=True, eq=False)
class Counts:
    """Pixels counted over images; counts of disjoint images add up.

    Only images in which a concept is annotated count for it.

    Attributes:
        both: (U, C), int64, pixels where the unit is active inside the concept.
        unit: (U, C), int64, pixels where the unit is active.
        concept: (C,), int64, pixels of the concept.
        pixels: (C,), int64, all pixels counted.
        images: (C,), int64, images that show the concept.
    """

    both: Tensor
    unit: Tensor
    concept: Tensor
    pixels: Tensor
    images: Tensor

    def __add__(self, other: Counts) -> Counts:
        """Add the counts of further images."""
        return Counts(*(getattr(self, name) + getattr(other, name) for name in self.__slots__))


def active_maps(activation: Tensor, thresholds: Tensor, side: int) -> Tensor:
    """Find where units are active, on a square grid.

    Activations are enlarged bilinearly, then compared with the threshold. A map that nowhere exceeds its threshold
    does not exceed it after interpolation either, so it is not enlarged.

    Args:
        activation: (B, U, h, w).
        thresholds: (U,).
        side: Side of the grid, positions.

    Returns:
        (B, U, side * side), float32, 0 or 1.
    """
    activation, thresholds = activation.detach().float(), thresholds.to(activation.device)
    active = activation.new_zeros(*activation.shape[:2], side * side)
    image, unit = (activation.amax((2, 3)) > thresholds).nonzero(as_tuple=True)
    step = max(1, _PAIRS // side**2)
    for start in range(0, len(image), step):
        rows, units = image[start : start + step], unit[start : start + step]
        large = functional.interpolate(activation[rows, units][:, None], (side, side), mode="bilinear")[:, 0]
        active[rows, units] = (large > thresholds[units, None, None]).flatten(1).float()
    return active


def count_overlap(active: Tensor, masks: Tensor, counted: Tensor, annotated: Tensor | None = None) -> Counts:
    """Count the overlap of units and concepts in a batch.

    Args:
        active: (B, U, P), 0 or 1, from :func:`active_maps`.
        masks: (B, C, P), bool.
        counted: (B, P), bool; other pixels, such as feathered edges, count for nothing.
        annotated: (B, C), bool, concepts whose absence is known where they are not marked; None means all.

    Raises:
        InputError: Shapes do not fit.
    """
    batch, _, places = active.shape
    if masks.shape[::2] != (batch, places) or counted.shape != (batch, places):
        raise InputError(
            f"masks must be ({batch}, C, {places}) and counted ({batch}, {places}), got {tuple(masks.shape)} and "
            f"{tuple(counted.shape)}"
        )
    kept = counted[:, None].to(active.dtype)
    active, inside = active * kept, masks.to(active.dtype) * kept
    known = active.new_ones(batch, masks.shape[1]) if annotated is None else annotated.to(active.dtype)
    inside = inside * known[:, :, None]
    # Sums per image are at most P, exact in float32; sums over images are taken in float64.
    both = torch.bmm(active, inside.transpose(1, 2)).double().sum(0)
    sums, known = active.sum(2).double(), known.double()
    return Counts(
        both=both.long(),
        unit=(sums.T @ known).long(),
        concept=inside.sum(2).double().sum(0).long(),
        pixels=(counted.sum(1).double() @ known).long(),
        images=inside.any(2).sum(0),
    )


def overlap(counts: Counts) -> Tensor:
    """Compute the intersection over union (U, C), float64 in [0, 1].

    It is 0 where nothing is marked or active.
    """
    union = counts.unit + counts.concept - counts.both
    return counts.both.double() / union.clamp_min(1).double()


def reachable(counts: Counts, quantile: float) -> Tensor:
    """Compute the largest possible intersection over union (C,) float64.

    It is that of a unit active at ``quantile`` of the positions: a concept that covers the share f of all pixels allows
    min(f, q) / max(f, q).
    """
    share = counts.concept.double() / counts.pixels.clamp_min(1).double()
    return share.clamp_max(quantile) / share.clamp_min(quantile)
