"""What the inverted attack returns: one row an image, with the details of the rows that were explained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from whywrong.core.result import MethodResult
from whywrong.core.status import Status

if TYPE_CHECKING:
    import pyarrow as pa

    from whywrong.attacks.inverted.explain import ExplainedFix

STATUSES = (Status.OK, Status.NO_ANSWER, Status.ALREADY_CORRECT, Status.BAD_INPUT)

DETAIL_COLUMNS = (
    "region_fixed",
    "region_count",
    "region_area",
    "region_l2",
    "region_linf",
    "regions",
    "contribution_residual",
    "object_lift",
    "object_lift_p",
)
DETAIL_MAPS = ("contribution", "region_mask", "region_fix")


@dataclass(frozen=True, slots=True, eq=False)
class InvertedResult(MethodResult):
    """Fixes of a batch, with what they cost. Distances are in units of the [0, 1] pixel range.

    Attributes:
        status: (B,), int64, index into :data:`STATUSES`.
        delta: (B, C, H, W), the change: ``x + delta`` is the fix; zero where there is none.
        fix_u8: (B, C, H, W), uint8, the fix of whole grey levels; the rounded image where there is none.
        image_u8: (B, C, H, W), uint8, the image in whole grey levels: ``fix_u8`` minus it is the 8-bit change.
        u8_fixed: (B,), bool, whether the classifier reads ``fix_u8 / 255`` as the true class.
        q_candidates: (B,), int64, changed images sent before the first right one, that one included.
        q_shrink: (B,), int64, changed images sent to shrink the fix.
        rho_l2: (B,), smallest l2 norm of any fix found; NaN where there is none.
        rho_linf: (B,), smallest linf norm of any fix found; NaN where there is none.
        l0: (B,), pixels changed; with ``l1``, ``l2`` and ``linf`` the norms of ``delta``.
        l1: (B,).
        l2: (B,).
        linf: (B,).
        rho_lin_l2: (B,), first-order estimate of the l2 distance, inside the pixel range; infinite where no change
            in the range reaches the linearised boundary.
        rho_lin_linf: (B,), the same for linf.
        margin_before: (B,), logits, best other class minus true class; positive is wrong.
        margin_after: (B,), the same for the fix.
        u8_l2: (B,), l2 norm of ``fix_u8 / 255 - x``; NaN where there is none.
        u8_linf: (B,), the same for linf.
        unstable: (B,), bool, the fix was right when found and wrong when tested again among other images.
        detailed: (B,), bool, rows that were explained.
        explained: The explanations of the detailed rows, in their order; None where there is none.
        forwards: (B,), int64, times each image went through the classifier.
        backwards: (B,), int64, times it was differentiated through it.
    """

    status: Tensor
    delta: Tensor
    fix_u8: Tensor
    image_u8: Tensor
    u8_fixed: Tensor
    q_candidates: Tensor
    q_shrink: Tensor
    rho_l2: Tensor
    rho_linf: Tensor
    l0: Tensor
    l1: Tensor
    l2: Tensor
    linf: Tensor
    rho_lin_l2: Tensor
    rho_lin_linf: Tensor
    margin_before: Tensor
    margin_after: Tensor
    u8_l2: Tensor
    u8_linf: Tensor
    unstable: Tensor
    detailed: Tensor
    explained: ExplainedFix | None
    forwards: Tensor
    backwards: Tensor

    @property
    def fixed(self) -> Tensor:
        """(B,), bool: rows with a fix."""
        return self.status == STATUSES.index(Status.OK)

    @property
    def checks(self) -> Mapping[str, Tensor]:
        """``margin_after`` must be negative and ``unstable`` false for a fix to be shown."""
        return {"margin_after": self.margin_after, "unstable": self.unstable}

    def columns(self) -> Mapping[str, Tensor | Sequence[Any]]:
        """The columns of view ``inverted``; those of the explanation are None or empty in rows without one."""
        plain: dict[str, Tensor | Sequence[Any]] = {"status": [STATUSES[i] for i in self.status.tolist()]}
        for name in [
            "q_candidates",
            "q_shrink",
            "rho_l2",
            "rho_linf",
            "l0",
            "l1",
            "l2",
            "linf",
            "rho_lin_l2",
            "rho_lin_linf",
            "margin_before",
            "margin_after",
            "u8_fixed",
            "u8_l2",
            "u8_linf",
            "unstable",
            "detailed",
        ]:
            plain[name] = getattr(self, name)
        rows = self.detailed.nonzero().flatten().tolist()
        found = self.explained.columns() if self.explained is not None else {}
        for name in DETAIL_COLUMNS:
            column: list[Any] = [None] * len(self.status)
            values = found.get(name, ())
            for row, value in zip(rows, values.tolist() if isinstance(values, Tensor) else values, strict=False):
                column[row] = value
            plain[name] = column
        return plain

    def maps(self) -> Mapping[str, Tensor]:
        """``contribution`` (B, H, W), ``region_mask`` (B, H, W), ``region_fix``, ``fix_u8``, ``image_u8`` (B, C, H, W).

        Rows that were not explained, or have no such map, are NaN; ``fix_u8`` and ``image_u8`` hold grey levels 0..255.
        """
        found = self.explained.maps() if self.explained is not None else {}
        maps: dict[str, Tensor] = {}
        for name in DETAIL_MAPS:
            plane = self.delta if name == "region_fix" else self.delta[:, 0]
            maps[name] = torch.full_like(plane, torch.nan)
            if name in found:
                maps[name][self.detailed] = found[name]
        shown = (self.detailed & self.u8_fixed).view(-1, 1, 1, 1)
        maps["fix_u8"] = torch.where(shown, self.fix_u8.float(), torch.nan)
        maps["image_u8"] = torch.where(shown, self.image_u8.float(), torch.nan)
        return maps

    @staticmethod
    def schema() -> pa.Schema:
        """Types of the columns, which stay the same where every row of a column is null."""
        import pyarrow as pa

        region = pa.struct(
            {
                "segment": pa.int64(),
                "share": pa.float64(),
                "area": pa.float64(),
                "lift": pa.float64(),
                "sufficient": pa.bool_(),
                "necessary": pa.bool_(),
            }
        )
        kinds = {
            "status": pa.string(),
            **dict.fromkeys(("q_candidates", "q_shrink"), pa.int64()),
            **dict.fromkeys(
                ["rho_l2", "rho_linf", "l0", "l1", "l2", "linf", "rho_lin_l2", "rho_lin_linf"], pa.float32()
            ),
            **dict.fromkeys(("margin_before", "margin_after"), pa.float32()),
            "u8_fixed": pa.bool_(),
            **dict.fromkeys(("u8_l2", "u8_linf"), pa.float32()),
            **dict.fromkeys(("unstable", "detailed", "region_fixed"), pa.bool_()),
            "region_count": pa.int64(),
            **dict.fromkeys(("region_area", "region_l2", "region_linf"), pa.float32()),
            "regions": pa.list_(region),
            **dict.fromkeys(("contribution_residual", "object_lift", "object_lift_p"), pa.float32()),
            **dict.fromkeys(("forwards", "backwards"), pa.int64()),
        }
        return pa.schema(list(kinds.items()))

    def to_arrow(self) -> pa.Table:
        """The table of :meth:`columns` with the cost, one row an image, typed by :meth:`schema`."""
        import pyarrow as pa

        values = {
            name: column.cpu().numpy() if isinstance(column, Tensor) else column
            for name, column in {**self.columns(), **self.cost}.items()
        }
        schema = self.schema()
        return pa.table([pa.array(values[field.name], field.type) for field in schema], schema=schema)
