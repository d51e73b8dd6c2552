"""Result of patch groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from whywrong.core.result import ColumnGroup, MethodResult, column, computed, nested, result_class
from whywrong.core.status import Status

GROUPS = ("sufficient", "breaking", "targeted", "support")


@result_class
class Group(ColumnGroup):
    """One group of patches of every image."""

    order: Sequence[list[int] | None] = column(["int64"], "Patches in the order they were taken, numbered by rows.")
    values: Sequence[list[float] | None] = column(["float64"], "The value before the first step and after each.")
    found: Sequence[bool | None] = column("bool", "Whether the decision turned as asked within the limit.")
    patches: int

    @computed("int64")
    def size(self) -> list[int | None]:
        """Patches in the group; null if none was found."""
        return [len(o) if o is not None and found else None for o, found in zip(self.order, self.found, strict=True)]

    @computed("float64")
    def area(self) -> list[float | None]:
        """Patches in the group as a share of all patches."""
        return [None if size is None else size / self.patches for size in self.size]


def _group(name: str, path: str) -> Any:
    of_path = {column: f"{path}_{column}" for column in ("order", "values")}
    return nested(Group, names=of_path | {column: f"{name}_{column}" for column in ("found", "size", "area")})


@result_class
class PatchGroupsResult(MethodResult):
    """Groups of patches of a batch, with their cost in passes.

    The predicted class is that of the whole image.

    ``sufficient``: patches shown one by one, all others hidden, until the predicted class wins; the values are those of
    the predicted class, the first one with every patch hidden. ``breaking``: patches hidden one by one until the
    predicted class no longer wins. ``targeted``: patches hidden one by one until the true class wins, chosen by the
    value of the true class minus that of the target; empty and found if the image is correctly classified. ``support``:
    once the true class wins, further patches hidden until it loses again, chosen by its own value; None if it never
    won, and the breaking group if the image is correctly classified. All are None if nothing was searched.

    Example:
        >>> import torch, whywrong as ww
        >>> classifier = ww.load_classifier("planted:cnn")
        >>> x, y = torch.rand(2, 3, 64, 64), torch.tensor([0, 1])
        >>> config = ww.PatchGroupsConfig(grid=4)
        >>> found = ww.patch_groups(classifier, x[:1], y[:1], config=config)
        >>> found.rows, found.cols
        (4, 4)
    """

    status: Sequence[Status] = column("string", "`ok`, `bad_input`, `refused` or `skipped`.")
    reason: Sequence[str | None] = column("string", "Why a row is not ok; null otherwise.")
    players: str | None = column("string", "`tokens` or `pixels`; null where no row was looked at.")
    fallback: str | None = column("string", "Why pixels took the place of tokens; null otherwise.")
    rows: int = column("int64", "Rows of the grid of patches.")
    cols: int = column("int64", "Columns of the grid of patches.")
    value: str = column("string", "The value function, as `log_odds`.")
    predicted: Tensor = column("int64", "Predicted class; -1 if unknown.")
    target: Tensor = column(
        "int64",
        "Class that stands against the true one: the predicted class of an error, else the runner-up; -1 if unknown.",
    )
    sufficient: Group = _group("sufficient", "insertion")
    breaking: Group = _group("breaking", "deletion")
    targeted: Group = _group("targeted", "targeted")
    support: Group = _group("support", "support")
    broken_into: Tensor = column("int64", "Class that wins once the decision is broken; -1 if it was not.")
    near_ties: Tensor = column(
        "int64", "Steps at which another patch was as good within 1e-5; the lowest number was taken.", check=True
    )
    spread: Tensor = column("float64", "Highest minus lowest value of the first patch hidden.", check=True)
    forwards: Tensor
    backwards: Tensor

    def maps(self) -> Mapping[str, Tensor]:
        """Return maps of ``sufficient``, ``breaking`` and ``targeted`` by name.

        Each is (B, rows, cols), in [0, 1].

        Of L patches taken the first is 1, the next (L - 1) / L, ..., the last 1 / L, and all others are 0. NaN if
        nothing was searched. A search that reached its limit has a map too; see ``found``.
        """
        return {name: self._map(getattr(self, name)) for name in ("sufficient", "breaking", "targeted")}

    def _map(self, group: Group) -> Tensor:
        heat = torch.full((len(self.status), self.rows * self.cols), torch.nan)
        for row, order in enumerate(group.order):
            if order is not None:
                heat[row] = 0.0
                heat[row, order] = 1 - torch.arange(len(order)) / max(len(order), 1)
        return heat.view(-1, self.rows, self.cols)
