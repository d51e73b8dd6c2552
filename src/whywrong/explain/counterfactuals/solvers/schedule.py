"""Step size rule of the published solvers.

At checkpoints, rows that stopped improving restart from their best iterate with a smaller step.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor


def checkpoints(steps: int) -> list[int]:
    """Return the steps after which the rule is applied.

    Intervals start at 0.22 n, and each is 0.03 n shorter, but at least 0.06 n.
    """
    length, found, at = max(int(0.22 * steps), 1), [], 0
    while at + length <= steps:
        at += length
        found.append(at)
        length = max(length - max(int(0.03 * steps), 1), int(0.06 * steps), 1)
    return found


@dataclass(slots=True, eq=False)
class Schedule:
    """State of the rule, one entry per row.

    Attributes:
        size: (n,), float32, step size.
        rises: (n,), int64, steps since the last checkpoint whose value rose.
        last: (n,), value after the step before; infinite before the first, so that it never counts as a rise.
        reduced: (n,), bool, whether the last checkpoint reduced the step.
        checked: (n,), best value at the last checkpoint.
    """

    size: Tensor
    rises: Tensor
    last: Tensor
    reduced: Tensor
    checked: Tensor

    @staticmethod
    def start(size: Tensor, value: Tensor) -> Schedule:
        """Create the state before the first step.

        Rows have step ``size`` (n,) and ``value`` (n,) at their start.
        """
        none = torch.zeros_like(size, dtype=torch.int64)
        return Schedule(size, none, torch.full_like(size, torch.inf), torch.ones_like(none, dtype=torch.bool), value)

    def at(self, rows: Tensor) -> Schedule:
        """Select some rows, by index."""
        return replace(self, **{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def count(self, value: Tensor) -> None:
        """Record the value (n,) after a step."""
        self.rises = self.rises + (value > self.last)
        self.last = value

    def check(self, best: Tensor, length: int, factor: float) -> Tensor:
        """Select the rows (n,) that must restart from their best iterate.

        Their step is multiplied by ``factor``.

        They are those whose value rose in at most 0.75 of the ``length`` steps, and those whose step was not reduced at
        the previous checkpoint and whose ``best`` (n,) has not risen since.
        """
        flagged = (self.rises <= 0.75 * length) | (~self.reduced & (self.checked >= best))
        self.size = torch.where(flagged, factor * self.size, self.size)
        self.reduced, self.checked = flagged, best
        self.rises = torch.zeros_like(self.rises)
        return flagged
