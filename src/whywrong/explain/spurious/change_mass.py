"""The counterfactual route, which measures where changes into one class put their mass.

Source: Boreiko et al. 2022, arXiv 2205.07972, whose code looks for changes outside the object that recur on many images
of one target class; the test is ours, docs/methods/spurious.md. Accepts counterfactuals from any source, given images,
changed images, and masks of the object if known.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from whywrong.core.errors import InputError
from whywrong.core.statistics import Interval, mean

FEWEST = 20  # images of a mean change; with fewer, one unusual image dominates it


def change_map(x: Tensor, changed: Tensor) -> Tensor:
    """Compute |changed - x| summed over channels, (B, H, W).

    Raises:
        InputError: Shapes differ.
    """
    if x.shape != changed.shape or x.ndim != 4:
        raise InputError(
            f"images and changed images must be alike (B, C, H, W), got {tuple(x.shape)} and {tuple(changed.shape)}"
        )
    return (changed - x).abs().sum(1)


def mass_inside(x: Tensor, changed: Tensor, mask: Tensor) -> Tensor:
    """Compute the share of the change inside a mask.

    Args:
        x: Images, (B, C, H, W).
        changed: Their counterfactuals.
        mask: (B, H, W), bool: a cue, or the object.

    Returns:
        (B,), in [0, 1]; NaN if nothing changed.
    """
    moved = change_map(x, changed).double()
    if mask.shape != moved.shape:
        raise InputError(f"masks must be {tuple(moved.shape)}, got {tuple(mask.shape)}")
    return (moved * mask).sum((1, 2)) / moved.sum((1, 2))  # 0 / 0 is NaN


def mass_outside(x: Tensor, changed: Tensor, objects: Tensor) -> Tensor:
    """Compute the share (B,) of the change outside the object.

    NaN if no object is known (an empty mask) or nothing changed.
    """
    inside = mass_inside(x, changed, objects)
    return torch.where(objects.flatten(1).any(1), 1 - inside, torch.nan)


@dataclass(frozen=True, slots=True, eq=False)
class ClassChange:
    """Common features of counterfactuals into one class.

    Attributes:
        target: The class.
        images: Number of counterfactuals.
        mean: (H, W), mean of the change, values of [0, 1] summed over channels.
        outside: Mean share of the change outside the object over the images whose object is known, with its 95 %
            interval; NaN without any.
        area: Mean share of the area outside the object, over the same images: the value of a uniform change.
        known: Number of images whose object is known.
        crops: (M, C, s, s), the medoids: crops of counterfactuals around their largest change.
        deltas: (M, C, s, s), the change inside them.
        rows: (M,), int64, rows of the images of the medoids.
        places: (M, 2), int64, row and column of each crop's upper left corner.
        members: (M,), int64, images in the cluster of each medoid, largest cluster first.
    """

    target: int
    images: int
    mean: Tensor
    outside: Interval
    area: float
    known: int
    crops: Tensor
    deltas: Tensor
    rows: Tensor
    places: Tensor
    members: Tensor


def class_change(
    x: Tensor,
    changed: Tensor,
    target: int,
    *,
    objects: Tensor | None = None,
    side: int | None = None,
    clusters: int = 4,
    fewest: int = FEWEST,
) -> ClassChange:
    """Summarise the counterfactuals into one class.

    Args:
        x: Images, (B, C, H, W).
        changed: Their counterfactuals into the class.
        target: The class.
        objects: (B, H, W), bool, masks or boxes of the object; an empty mask means "not known".
        side: Side of the crops, pixels; None is a quarter of the shorter side of the images.
        clusters: Largest number of clusters of crops.
        fewest: Smallest number of images accepted.

    Raises:
        InputError: There are too few images, or shapes differ.
    """
    if len(x) < fewest:
        raise InputError(f"class {target}: {len(x)} counterfactuals, a common change needs at least {fewest}")
    moved = change_map(x, changed)
    outside = torch.full((len(x),), torch.nan, dtype=torch.float64, device=x.device)
    if objects is not None:
        outside = mass_outside(x, changed, objects)
    known = ~outside.isnan()
    side = min(side or max(4, min(x.shape[2:]) // 4), *x.shape[2:])
    crops, places = strongest_crops(changed, moved, side)
    rows, members = medoids(_looks(crops, changed - x, places), clusters)
    return ClassChange(
        target=target,
        images=len(x),
        mean=moved.mean(0),
        outside=mean(outside[known].cpu().numpy(), bounds=(0.0, 1.0)),
        area=float((~objects[known]).double().mean()) if objects is not None and bool(known.any()) else float("nan"),
        known=int(known.sum()),
        crops=crops[rows],
        deltas=_cut((changed - x)[rows], places[rows, 0], places[rows, 1], side),
        rows=rows,
        places=places[rows],
        members=members,
    )


def strongest_crops(changed: Tensor, moved: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Find the square window of each image that holds most of its change.

    Args:
        changed: (B, C, H, W).
        moved: (B, H, W), change of each pixel.
        side: Side of the windows, pixels.

    Returns:
        Crops (B, C, side, side), and their upper left corners (B, 2) int64.
    """
    sums = torch.nn.functional.avg_pool2d(moved[:, None], side, stride=1)[:, 0]  # (B, H - side + 1, W - side + 1)
    best = sums.flatten(1).argmax(1)
    top, left = best // sums.shape[2], best % sums.shape[2]
    return _cut(changed, top, left, side), torch.stack([top, left], 1)


def _cut(images: Tensor, top: Tensor, left: Tensor, side: int) -> Tensor:
    """Cut a window (C, side, side) from each image."""
    span = torch.arange(side, device=images.device)
    rows, columns = (top[:, None] + span)[:, None, :, None], (left[:, None] + span)[:, None, None, :]
    batch = torch.arange(len(images), device=images.device)[:, None, None, None]
    channel = torch.arange(images.shape[1], device=images.device)[None, :, None, None]
    return images[batch, channel, rows, columns]


def _looks(crops: Tensor, delta: Tensor, places: Tensor) -> Tensor:
    """Compute the vectors (B, F) by which crops are compared.

    They are the signed change, pooled to at most 8 x 8 cells, of unit length.
    """
    change = _cut(delta, places[:, 0], places[:, 1], crops.shape[2])
    small = torch.nn.functional.adaptive_avg_pool2d(change, min(8, crops.shape[2])).flatten(1)
    return small / small.norm(dim=1, keepdim=True).clamp_min(1e-12)


def medoids(points: Tensor, clusters: int, rounds: int = 20) -> tuple[Tensor, Tensor]:
    """Find k-medoids, points that represent groups of similar points.

    Starts from the most central point, adds the farthest ones, then moves each medoid within its group until nothing
    changes. The result is deterministic.

    Args:
        points: (N, F), N at least 1.
        clusters: Largest number of groups, at least 1.
        rounds: Largest number of rounds.

    Returns:
        Rows of the medoids, largest group first, and the sizes of the groups; both int64.
    """
    away = torch.cdist(points.double(), points.double())
    chosen = [int(away.sum(0).argmin())]
    while len(chosen) < min(clusters, len(points)):
        nearest = away[chosen].amin(0)
        if float(nearest.max()) == 0:
            break
        chosen.append(int(nearest.argmax()))
    rows = torch.tensor(chosen, device=points.device)
    group = away[rows].argmin(0)
    for _ in range(rounds):
        moved = rows.clone()
        for number in range(len(rows)):
            members = (group == number).nonzero().flatten()
            moved[number] = members[away[members][:, members].sum(0).argmin()]
        regrouped = away[moved].argmin(0)
        done = bool((moved == rows).all()) and bool((regrouped == group).all())
        rows, group = moved, regrouped
        if done:
            break
    sizes = torch.bincount(group, minlength=len(rows))
    order = sizes.argsort(descending=True, stable=True)
    return rows[order], sizes[order]
