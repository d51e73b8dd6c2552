"""Errors whose object is cut off by the crop, is small, or is not where the evidence is."""

from __future__ import annotations

import numpy as np

from whywrong.core.statistics import wilson
from whywrong.verdicts.groups.group import Group, Words
from whywrong.verdicts.groups.rows import Rows

_FEWEST_RIGHT = 50  # correct images from which quantiles are taken
_CUT = 0.25  # share of the object's box outside the crop
_AWAY = 0.1  # largest share of the evidence that is inside the object's box, relative to the box's share of the image
_SMALL = 0.02  # quantile of the object's share of the image

CUT_OFF = Words(
    kind="cut_off",
    cause="occluded",
    action="Crop around the object instead of the centre, or train with objects at the border.",
)
_OUTSIDE = Words(
    kind="outside_object",
    cause="spurious",
    action="Cover the places with the most evidence, and see whether the prediction changes.",
)
_TINY = Words(kind="tiny", cause="occluded", action="Crop around the object, or train with small objects.")


def cut_off(rows: Rows) -> list[Group]:
    """Find errors with at least a quarter of the object's box outside the crop.

    Returns:
        One group, errors with the smallest part of the object inside first, or an empty list.
    """
    wrong = rows.wrong
    outside = np.nan_to_num(_outside_crop(rows)[wrong])
    chosen = np.flatnonzero(outside >= _CUT)
    if not len(chosen):
        return []
    members = wrong[chosen[np.argsort(-outside[chosen], kind="stable")]]
    sentence = "{count} show an object that the crop cuts off: at least a quarter of its box lies outside."
    return [CUT_OFF.group(rows, members, "cut off by the crop", sentence)]


def outside_object(rows: Rows) -> list[Group]:
    """Find errors whose evidence for the prediction is outside the labelled object.

    The share of the evidence inside the object's box must be less than a tenth of the area share of the box, and less
    than in 98 % of the correct images.
    """
    known = rows.known("object_box") & rows.known("input_evidence")
    if not known[rows.wrong].any() or known[rows.right].sum() < _FEWEST_RIGHT:
        return []
    inside, area = _inside_box(rows, known)
    ratio = inside / np.maximum(area, 1e-6)
    limit = min(_AWAY, float(np.quantile(ratio[rows.right[known[rows.right]]], _SMALL)))
    wrong = rows.wrong[known[rows.wrong]]
    members = wrong[(ratio[wrong] < limit) & (area[wrong] > 0)]
    if not len(members):
        return []
    return [
        _OUTSIDE.group(
            rows,
            members[np.argsort(ratio[members], kind="stable")],
            "evidence outside the object",
            "{count} are predicted from evidence outside the labelled object.",
        )
    ]


def tiny(rows: Rows) -> list[Group]:
    """Find errors whose object is smaller than in 98 % of the correct images.

    The list is empty if there are no more such errors than expected by chance."""
    known = rows.known("object_box")
    right = rows.right[known[rows.right]]
    wrong = rows.wrong[known[rows.wrong]]
    if len(right) < _FEWEST_RIGHT or not len(wrong):
        return []
    area = np.prod(np.maximum(rows.object_box[:, 2:] - rows.object_box[:, :2], 0), axis=1)
    limit = float(np.quantile(area[right], _SMALL))
    members = wrong[area[wrong] < limit]
    beyond = wilson(len(members), len(wrong), z=2.576)
    if len(members) < 2 or beyond.low <= _SMALL:
        return []
    return [
        _TINY.group(
            rows,
            members[np.argsort(area[members], kind="stable")],
            "small objects",
            f"{{count}} show an object smaller than {limit:.1%} of the image, smaller than in 98 % of the correct"
            " images.",
            statistics={"limit": limit},
        )
    ]


def _outside_crop(rows: Rows) -> np.ndarray:
    """Return the share of each object's box outside the crop; (N,), NaN without a box."""
    if not rows.known("object_box").any():
        return np.full(len(rows), np.nan)
    box = rows.object_box.astype(np.float64)
    inside = np.clip(box, 0, 1)
    areas = [np.prod(np.maximum(part[:, 2:] - part[:, :2], 0), axis=1) for part in (box, inside)]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(areas[0] > 0, 1 - areas[1] / areas[0], np.nan)


def _inside_box(rows: Rows, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the share of the positive evidence inside the object's box, and the box's share of the image; (N,)."""
    cells = rows.input_evidence.shape[-1]
    edges = np.linspace(0, 1, cells + 1)
    box = np.clip(np.where(known[:, None], rows.object_box, 0), 0, 1).astype(np.float64)
    covered = [
        np.clip(np.minimum(edges[1:], box[:, high, None]) - np.maximum(edges[:-1], box[:, low, None]), 0, None) * cells
        for low, high in ((0, 2), (1, 3))
    ]
    mask = covered[1][:, :, None] * covered[0][:, None]
    positive = np.maximum(np.nan_to_num(rows.input_evidence), 0)
    total = positive.sum((1, 2))
    return (positive * mask).sum((1, 2)) / np.maximum(total, 1e-12), mask.mean((1, 2))
