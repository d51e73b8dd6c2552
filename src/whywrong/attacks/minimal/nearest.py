"""The smallest change of each image so far that reaches the goal, and the passes left to find a smaller one."""

from __future__ import annotations

import torch
from torch import Tensor

from whywrong.attacks.balls import Box
from whywrong.attacks.inverted.margin_oracle import Linearization, MarginOracle
from whywrong.attacks.minimal.geometry import Geometry


class Nearest:
    """The smallest changes found by a search.

    Args:
        oracle: Evaluates images and counts the passes.
        rows: (n,), int64, indices of the images in the batch.
        box: Allowed pixels of these rows.
        geometry: The norm.
        start: Linearised images, of which some may reach the goal.
        budget: Most forward and backward passes of each row, those so far included.

    Attributes:
        best: The smallest changed images that reach the goal; the start where none does.
        size: (n,), norm of their change; infinite where none reaches the goal.
    """

    def __init__(
        self, oracle: MarginOracle, rows: Tensor, box: Box, geometry: Geometry, start: Linearization, budget: int
    ) -> None:
        self.oracle, self.rows, self.box, self.geometry, self.budget = oracle, rows, box, geometry, budget
        self.best = start.clone()
        self.size = geometry.size(start.pixels - box.x).where(start.right, torch.inf)

    def steps(self, reserve: int = 0) -> Tensor:
        """Compute how many steps of two passes the budget still allows.

        (n,) int64, without the passes of ``reserve``.
        """
        spent = self.oracle.forwards[self.rows] + self.oracle.backwards[self.rows]
        return (self.budget - reserve - spent).clamp_min(0) // 2

    def linearise(self, at: Tensor, pixels: Tensor) -> Linearization:
        """Linearise ``pixels`` (m, C, H, W) of the entries ``at`` (m,), and offer them."""
        points = self.oracle.linearise(self.rows[at], pixels)
        self.offer(at, points)
        return points

    def offer(self, at: Tensor, points: Linearization) -> None:
        """Keep the points of the entries ``at`` (m,) that reach the goal with a smaller change."""
        size = self.geometry.at(at).size(points.pixels - self.box.x[at])
        better = (points.right & (size < self.size[at])).nonzero().flatten()
        self.best.put(at[better], points.at(better))
        self.size[at[better]] = size[better]
