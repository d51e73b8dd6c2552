"""Plan of the searches of a call, one entry per target and radius, in the order of the images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from whywrong.core.margins import best_other
from whywrong.explain.counterfactuals.config import default_radius
from whywrong.explain.counterfactuals.result import RUNNER_UP, TARGET, TRUE, WRONG
from whywrong.explain.counterfactuals.run import CounterfactualRun


@dataclass(frozen=True, slots=True, eq=False)
class SearchPlan:
    """Planned searches, one entry per target and radius.

    Rows (E,), roles, targets (E,), radii (E,) float64.
    """

    row: Tensor
    role: tuple[str, ...]
    target: Tensor
    eps: Tensor

    def __len__(self) -> int:
        return len(self.row)


def plan_searches(run: CounterfactualRun, rows: Tensor) -> SearchPlan:
    """List all targets and radii of images ``rows`` (n,), in the order of the images."""
    entries = run.x[0].numel() if len(run.x) else 1
    radii = run.config.radii or (default_radius(run.config.p, entries),)
    wanted: list[tuple[int, str, int, float]] = []
    runner_up = best_other(run.start, run.y).tolist() if len(rows) else []
    for row in rows.tolist():
        for role, target in _targets(run, row, runner_up[row]):
            wanted += [(row, role, target, radius) for radius in radii]
    columns = list(zip(*wanted, strict=True)) if wanted else [(), (), (), ()]
    device = run.x.device
    return SearchPlan(
        row=torch.tensor(columns[0], dtype=torch.int64, device=device),
        role=tuple(columns[1]),
        target=torch.tensor(columns[2], dtype=torch.int64, device=device),
        eps=torch.tensor(columns[3], dtype=torch.float64, device=device),
    )


def _targets(run: CounterfactualRun, row: int, runner_up: int) -> list[tuple[str, int]]:
    """Return roles and classes for an image.

    ``runner_up`` is its best class except the true one.
    """
    true, predicted = int(run.y[row]), int(run.predicted[row])
    names = {predicted: WRONG, true: TRUE}  # a correctly classified image: the predicted class is the true one
    if run.targets is not None:
        asked = dict.fromkeys(t for t in run.targets[row].tolist() if t >= 0)
        return [(names.get(target, TARGET), target) for target in asked]
    if true != predicted:
        return [(TRUE, true), (WRONG, predicted)]
    return [(RUNNER_UP, runner_up), (TRUE, true)]
