"""Results of the search so far, image by image."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from whywrong.explain.patch_groups.config import PatchGroupsConfig
from whywrong.explain.patch_groups.result import GROUPS, Group, PatchGroupsResult
from whywrong.explain.patch_groups.search import GreedyPath
from whywrong.models.method_call import MethodCall


@dataclass(slots=True)
class Found:
    """Results of the search so far for B images."""

    batch: int
    rows: int
    cols: int = 0
    players: str | None = None
    fallback: str | None = None
    groups: dict[str, tuple[list[list[int] | None], list[list[float] | None], list[bool | None]]] = field(init=False)
    numbers: Tensor = field(init=False)  # (4, B) int64: predicted, target, broken into, near ties
    spread: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.cols = self.rows
        self.groups = {n: ([None] * self.batch, [None] * self.batch, [None] * self.batch) for n in GROUPS}
        self.numbers = torch.tensor([[-1], [-1], [-1], [0]]).repeat(1, self.batch)
        self.spread = torch.full((self.batch,), torch.nan, dtype=torch.float64)

    def add(self, name: str, rows: Tensor, path: GreedyPath) -> None:
        """Store the result of a search for images ``rows``."""
        orders, values, founds = self.groups[name]
        parts = zip(path.order.tolist(), path.values.tolist(), path.length.tolist(), path.found.tolist(), strict=True)
        for row, (order, value, length, hit) in zip(rows.tolist(), parts, strict=True):
            orders[row], values[row], founds[row] = order[:length], value[: length + 1], hit
        self.numbers[3, rows] += path.near_ties

    def add_right(self, rows: Tensor, difference: Tensor) -> None:
        """Store the groups of correctly classified images.

        Their targeted group is empty, and their support is the breaking group.
        """
        for row, value in zip(rows.tolist(), difference.tolist(), strict=True):
            for part, entry in zip(self.groups["targeted"], ([], [value], True), strict=True):
                part[row] = entry  # type: ignore[call-overload]
            for part, same in zip(self.groups["support"], self.groups["breaking"], strict=True):
                part[row] = same[row]  # type: ignore[call-overload]

    def drop(self, rows: Tensor) -> None:
        """Discard the groups stored for images."""
        for row in rows.tolist():
            for parts in self.groups.values():
                for part in parts:
                    part[row] = None  # type: ignore[call-overload]
        self.numbers[2, rows] = -1

    def result(self, call: MethodCall, config: PatchGroupsConfig) -> PatchGroupsResult:
        """Build the result of the method, with the final status of each row of the call."""
        patches = self.rows * self.cols
        parts = {n: Group(order=o, values=v, found=f, patches=patches) for n, (o, v, f) in self.groups.items()}
        predicted, target, into, ties = self.numbers
        return PatchGroupsResult(
            players=self.players,
            fallback=self.fallback,
            rows=self.rows,
            cols=self.cols,
            value=config.value,
            predicted=predicted,
            target=target,
            broken_into=into,
            near_ties=ties,
            spread=self.spread,
            **parts,
            **call.outcome(),
        )
