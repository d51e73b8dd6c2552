"""Result of the inverted attack: one row per image, with details of the explained rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from whywrong.core.result import ColumnGroup, MethodResult, column, nested, result_class
from whywrong.core.status import Status

DETAIL_MAPS = ("contribution", "region_mask", "region_fix")


@result_class
class ExplainedFix(ColumnGroup):
    """Explanations of fixes. Changes are in units of the [0, 1] pixel range, areas are shares of the image.

    ``row`` (E,) int64 is the image of each. ``contribution`` (E, H, W) is the amount in logits by which each pixel of
    the fix lowered the error margin, negative if it worked against the fix; the sum is the decrease of the margin.
    ``segments`` (E, H, W) int64 are the superpixels, ``region_mask`` (E, H, W) bool those of the region fix, all False
    if there is none, and ``region_fix`` (E, C, H, W) the image fixed inside them, NaN if there is none.
    """

    row: Tensor
    region_fixed: Tensor = column("bool", "Whether a fix confined to few superpixels was found.")
    region_count: Tensor = column("int64", "Superpixels of the region fix; 0 without one.")
    region_area: Tensor = column("float32", "Its share of the image; NaN without one.")
    region_l2: Tensor = column("float32", "l2 norm of its change; NaN without one.")
    region_linf: Tensor = column("float32", "linf norm of its change; NaN without one.")
    regions: list[list[dict[str, Any]]] = column(
        [
            {
                "segment": "int64",
                "share": "float64",
                "area": "float64",
                "lift": "float64",
                "sufficient": "bool",
                "necessary": "bool",
            }
        ],
        "Superpixels that carry most of the fix: their share of it, their area, share through area, and whether the "
        "fix inside them alone suffices and whether it fails without them.",
    )
    contribution_residual: Tensor = column(
        "float32", "What the sum of the contribution misses, as a share of the fall of the margin."
    )
    object_lift: Tensor = column(
        "float32", "Share of the contribution on the object through its share of the area; NaN if no object is known."
    )
    object_lift_p: Tensor = column("float32", "Two-sided p-value from circular shifts of the object.")
    contribution: Tensor
    segments: Tensor
    region_mask: Tensor
    region_fix: Tensor
    forwards: Tensor
    backwards: Tensor

    def maps(self) -> Mapping[str, Tensor]:
        """Return ``contribution``, ``region_mask`` and ``region_fix``.

        They are (E, H, W), (E, H, W) and (E, C, H, W); NaN if there is none.
        """
        mask = torch.where(self.region_fixed.view(-1, 1, 1), self.region_mask.float(), torch.nan)
        return {"contribution": self.contribution, "region_mask": mask, "region_fix": self.region_fix}


@result_class
class InvertedResult(MethodResult):
    """Fixes of a batch and their cost. Distances are in units of the [0, 1] pixel range.

    ``delta`` (B, C, H, W) is the change: ``x + delta`` is the fix; zero if there is none. ``fix_u8`` (B, C, H, W)
    uint8 is the fix of whole grey levels, the rounded image if there is none; ``image_u8`` the image in whole grey
    levels. A fix is shown if ``margin_after`` is negative and ``unstable`` false.

    Example:
        >>> import torch, whywrong as ww
        >>> classifier = ww.load_classifier("planted:cnn")
        >>> x, y = torch.rand(2, 3, 64, 64), torch.tensor([0, 1])
        >>> ww.invert(classifier, x[:1], y[:1]).delta.shape
        torch.Size([1, 3, 64, 64])
    """

    status: Sequence[Status] = column(
        "string", "`ok`: a fix is known; `no_answer`: none was found; `already_correct`, `bad_input` or `refused`."
    )
    q_candidates: Tensor = column(
        "int64", "Changed images sent before the first that is predicted as the true class, that one included."
    )
    q_shrink: Tensor = column("int64", "Changed images sent to shrink the fix.")
    rho_l2: Tensor = column("float32", "Smallest l2 norm of any fix found; NaN without one.")
    rho_linf: Tensor = column("float32", "Smallest linf norm of any fix found; NaN without one.")
    l0: Tensor = column("float32", "Pixels changed by the fix that is shown.")
    l1: Tensor = column("float32", "l1 norm of its change.")
    l2: Tensor = column("float32", "l2 norm of its change.")
    linf: Tensor = column("float32", "linf norm of its change.")
    rho_lin_l2: Tensor = column(
        "float32",
        "First-order estimate of the l2 distance, inside the pixel range; infinite where no change in the range "
        "reaches the linearised boundary.",
    )
    rho_lin_linf: Tensor = column("float32", "The same for linf.")
    margin_before: Tensor = column("float32", "Logits, best other class minus true class; positive is an error.")
    margin_after: Tensor = column("float32", "The same for the fix.", check=True)
    u8_fixed: Tensor = column("bool", "Whether the fix of whole grey levels is predicted as the true class.")
    u8_l2: Tensor = column("float32", "l2 norm of the change to it; NaN without one.")
    u8_linf: Tensor = column("float32", "linf norm of the change to it; NaN without one.")
    unstable: Tensor = column(
        "bool", "Whether the fix was right when found and wrong when tested again among other images.", check=True
    )
    detailed: Tensor = column("bool", "Whether the fix was explained; what follows is null otherwise.")
    explained: ExplainedFix | None = nested(ExplainedFix)
    reason: Sequence[str | None]
    delta: Tensor
    fix_u8: Tensor
    image_u8: Tensor
    forwards: Tensor
    backwards: Tensor

    @property
    def fixed(self) -> Tensor:
        """(B,), bool: rows with a fix."""
        return torch.tensor([word == Status.OK for word in self.status], dtype=torch.bool, device=self.delta.device)

    def maps(self) -> Mapping[str, Tensor]:
        """Return the maps to store.

        ``contribution`` and ``region_mask`` are (B, H, W), ``region_fix``, ``fix_u8`` and ``image_u8`` (B, C, H, W).
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
