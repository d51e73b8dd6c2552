"""Thresholds of units, the values that their activations exceed at a given share of all positions.

Source: Bau et al. 2017, arXiv 1704.05796, network dissection. The published code keeps a sketch of the quantiles; the
exact largest values fit in memory for every common layer, so they are kept instead.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from whywrong.core.errors import InputError

MOST_VALUES = 2 * 10**8  # values kept, 0.8 GB


@dataclass(frozen=True, slots=True, eq=False)
class TopValues:
    """Largest activations of each unit, from which thresholds are read.

    Attributes:
        values: (U, M), float32, in descending order.
        positions: Number of positions they were chosen from.
    """

    values: Tensor
    positions: int


def values_kept(quantile: float, positions: int, units: int) -> int:
    """Compute how many values of a unit to keep for an exact threshold.

    Args:
        quantile: Share of the positions above the threshold, in (0, 0.5].
        positions: Number of positions of all images.
        units: Number of units.

    Raises:
        InputError: More than 2e8 values would be kept.
    """
    kept = min(math.floor(quantile * positions) + 1, positions)
    if kept * units > MOST_VALUES:
        raise InputError(
            f"quantile {quantile:g} of {positions:,} positions keeps {kept * units:,} values, at most {MOST_VALUES:,} "
            "fit; give fewer images, a smaller quantile or a later layer"
        )
    return kept


def top_values(activation: Tensor, kept: int) -> TopValues:
    """Find the largest activations of each unit.

    Args:
        activation: (B, U, h, w).
        kept: Values kept per unit; fewer if there are fewer positions.
    """
    flat = activation.detach().float().movedim(1, 0).flatten(1)  # (U, B h w)
    return TopValues(flat.topk(min(kept, flat.shape[1]), dim=1).values, flat.shape[1])


def merge_top(first: TopValues, second: TopValues, kept: int) -> TopValues:
    """Merge the largest values of two sets of positions, in any order."""
    values = torch.cat([first.values, second.values], 1)
    return TopValues(values.topk(min(kept, values.shape[1]), dim=1).values, first.positions + second.positions)


def find_thresholds(top: TopValues, quantile: float) -> Tensor:
    """Read the threshold (U,) float32 of each unit.

    It is the smallest value that at most ``quantile`` of the positions exceed strictly.

    Raises:
        InputError: Too few values were kept.
    """
    rank = math.floor(quantile * top.positions)  # positions that may exceed it
    if rank >= top.values.shape[1]:
        raise InputError(
            f"quantile {quantile:g} of {top.positions:,} positions needs {rank + 1:,} values per unit, got "
            f"{top.values.shape[1]:,}; keep more"
        )
    return top.values[:, rank].contiguous()
