"""Plan of the images measured in a comparison of groups, each of them once.

An image that is the source of several errors, or belongs to a group itself, is measured for all their classes together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whywrong.reproduce.interactions.groups import MADE, Group, Groups


@dataclass(frozen=True, slots=True, eq=False)
class MeasurementPlan:
    """All images to measure, each once, those with most classes t first.

    Attributes:
        x: (N, C, H, W).
        y: (N,) int64, true classes.
        keys: (N,) int64.
        targets: (N, T) int64, classes t; only the first ``width`` of a row are valid.
        width: (N,) int64.
    """

    x: Tensor
    y: Tensor
    keys: Tensor
    targets: Tensor
    width: Tensor


def plan_measurements(groups: Groups) -> tuple[MeasurementPlan, dict[str, dict[str, tuple[np.ndarray, np.ndarray]]]]:
    """List the images, and the rows and slots of each group and its sources."""
    targets: dict[tuple[str, int], list[int]] = {}  # ("" for a clean image or its group, row) -> classes t
    about: dict[tuple[str, int], tuple[Group, int]] = {}
    uses: dict[str, dict[str, list[tuple[tuple[str, int], int]]]] = {}
    for name, group in groups.groups.items():
        uses[name] = {"own": [], "source": []}
        for place, (row, target) in enumerate(zip(group.rows.tolist(), group.target.tolist(), strict=True)):
            made = name in MADE
            for role, key in (("own", (name if made else "", row)), ("source", ("", row)))[: 1 + made]:
                slots = targets.setdefault(key, [])
                if target not in slots:
                    slots.append(target)
                about.setdefault(key, (group, place))
                uses[name][role].append((key, slots.index(target)))
    order = sorted(targets, key=lambda key: -len(targets[key]))
    number = {key: place for place, key in enumerate(order)}
    most = len(targets[order[0]])
    x = torch.stack([groups.x[key[1]] if key[0] == "" else about[key][0].x[about[key][1]] for key in order])
    jobs = MeasurementPlan(
        x=x,
        y=torch.stack([about[key][0].y[about[key][1]] for key in order]),
        keys=torch.stack([about[key][0].keys[about[key][1]] for key in order]),
        targets=torch.tensor([(targets[key] * most)[:most] for key in order]),
        width=torch.tensor([len(targets[key]) for key in order]),
    )
    places = {
        name: {
            role: (
                np.array([number[key] for key, _ in used], dtype=np.int64),
                np.array([s for _, s in used], dtype=np.int64),
            )
            for role, used in roles.items()
        }
        for name, roles in uses.items()
    }
    return jobs, places
