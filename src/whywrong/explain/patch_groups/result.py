"""What patch groups return."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from whywrong.core.result import MethodResult

if TYPE_CHECKING:
    import pyarrow as pa

GROUPS = ("sufficient", "breaking", "targeted", "support")
_PATHS = {"sufficient": "insertion", "breaking": "deletion", "targeted": "targeted", "support": "support"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Group:
    """One group of patches of every image.

    Attributes:
        order: (B,) lists of patches in the order they were taken, numbered by rows; None where nothing was searched.
        values: (B,) lists of the value before the first and after each step; None likewise.
        found: (B,) whether the decision turned as asked within the limit; None likewise.
    """

    order: Sequence[list[int] | None]
    values: Sequence[list[float] | None]
    found: Sequence[bool | None]

    @property
    def size(self) -> list[int | None]:
        """(B,) patches in the group; None where none was found."""
        return [len(o) if o is not None and found else None for o, found in zip(self.order, self.found, strict=True)]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class PatchGroupsResult(MethodResult):
    """Groups of patches of a batch, with what they cost. Predicted means: on the whole image.

    Attributes:
        status: (B,) ``ok``, ``bad_input``, ``refused``, or ``skipped`` where only some rows were to be explained.
        reason: (B,) why a row is not ok, else None.
        players: ``tokens`` or ``pixels``; None where no row was looked at.
        fallback: Why pixels took the place of tokens; None where they did not.
        rows, cols: Grid of patches.
        value: The value function, as ``log_odds``.
        predicted: (B,) int64, predicted class; -1 if unknown.
        target: (B,) int64, class that stands against the true one: the predicted class of an error, else the
            runner-up; -1 if unknown.
        sufficient: Columns ``insertion_order``, ``insertion_values``, ``sufficient_found``, ``sufficient_size``,
            ``sufficient_area``: patches shown one by one, all others hidden, until the predicted class wins; values are
            those of the predicted class, before the first step with every patch hidden.
        breaking: Columns ``deletion_order``, ``deletion_values``, ``breaking_found``, ``breaking_size``,
            ``breaking_area``: patches hidden one by one until the predicted class no longer wins.
        broken_into: (B,) int64, the class that wins then; -1 where none was found.
        targeted: Columns ``targeted_order``, ``targeted_values``, ``targeted_found``, ``targeted_size``,
            ``targeted_area``: patches hidden one by one until the true class wins, by the value of the true class minus
            that of the target. Empty and found where the image is right.
        support: Columns ``support_order``, ``support_values``, ``support_found``, ``support_size``, ``support_area``:
            once the true class wins, the patches hidden beside that make it lose again, by its own value; None where it
            never won. Where the image is right this is the breaking group.
        near_ties: (B,) int64, steps at which another patch was as good within 1e-5; the lowest number was taken.
        spread: (B,) float64, highest minus lowest value of the first patch hidden.
        forwards: (B,), int64, times each image, or a part of it, went through the classifier.
        backwards: (B,), int64, always 0.
    """

    status: Sequence[str]
    reason: Sequence[str | None]
    players: str | None
    fallback: str | None
    rows: int
    cols: int
    value: str
    predicted: Tensor
    target: Tensor
    sufficient: Group
    breaking: Group
    broken_into: Tensor
    targeted: Group
    support: Group
    near_ties: Tensor
    spread: Tensor
    forwards: Tensor
    backwards: Tensor

    @property
    def checks(self) -> Mapping[str, Tensor]:
        """``spread`` and ``near_ties``: how much there was to choose between."""
        return {"spread": self.spread, "near_ties": self.near_ties}

    def columns(self) -> Mapping[str, Tensor | Sequence[Any]]:
        """The columns of view ``patch_groups``; shares of area count patches."""
        batch = len(self.status)
        found: dict[str, Tensor | Sequence[Any]] = {
            "status": self.status,
            "reason": self.reason,
            "players": [self.players] * batch,
            "fallback": [self.fallback] * batch,
            "rows": torch.full((batch,), self.rows),
            "cols": torch.full((batch,), self.cols),
            "value": [self.value] * batch,
            "predicted": self.predicted,
            "target": self.target,
        }
        for name, path in _PATHS.items():
            group: Group = getattr(self, name)
            size = group.size
            found[f"{path}_order"] = group.order
            found[f"{path}_values"] = group.values
            found[f"{name}_found"] = group.found
            found[f"{name}_size"] = size
            found[f"{name}_area"] = [None if k is None else k / (self.rows * self.cols) for k in size]
        found |= {"broken_into": self.broken_into, "near_ties": self.near_ties, "spread": self.spread}
        return found

    def maps(self) -> Mapping[str, Tensor]:
        """``sufficient``, ``breaking``, ``targeted``, (B, rows, cols) each, in [0, 1].

        Of L patches taken the first is 1, the next (L - 1) / L, ..., the last 1 / L, all others 0. NaN where nothing
        was searched. A map is drawn also where the limit ended the search: ``found`` tells.
        """
        return {name: self._map(getattr(self, name)) for name in ("sufficient", "breaking", "targeted")}

    def _map(self, group: Group) -> Tensor:
        heat = torch.full((len(self.status), self.rows * self.cols), torch.nan)
        for row, order in enumerate(group.order):
            if order is not None:
                heat[row] = 0.0
                heat[row, order] = 1 - torch.arange(len(order)) / max(len(order), 1)
        return heat.view(-1, self.rows, self.cols)

    @staticmethod
    def schema() -> pa.Schema:
        """Types of the columns, which stay the same where every row of a column is null."""
        import pyarrow as pa

        kinds: dict[str, pa.DataType] = dict.fromkeys(("status", "reason", "players", "fallback"), pa.string())
        kinds |= {"rows": pa.int64(), "cols": pa.int64(), "value": pa.string()}
        kinds |= {"predicted": pa.int64(), "target": pa.int64()}
        for name, path in _PATHS.items():
            kinds[f"{path}_order"] = pa.list_(pa.int64())
            kinds[f"{path}_values"] = pa.list_(pa.float64())
            kinds |= {f"{name}_found": pa.bool_(), f"{name}_size": pa.int64(), f"{name}_area": pa.float64()}
        kinds |= {"broken_into": pa.int64(), "near_ties": pa.int64(), "spread": pa.float64()}
        kinds |= {"forwards": pa.int64(), "backwards": pa.int64()}
        return pa.schema(list(kinds.items()))
