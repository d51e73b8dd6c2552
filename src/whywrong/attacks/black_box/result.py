"""Result of the search behind a black box: one row per image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from whywrong.core.result import MethodResult, column, map_field, result_class
from whywrong.core.status import Status


@result_class
class BlackBoxResult(MethodResult):
    """Fixes of a batch and what they cost. Distances are in units of the [0, 1] pixel range.

    ``fix_u8`` (B, C, H, W) has whole grey levels, as an endpoint receives it: it is the very image that was answered.
    ``surrogate_passes`` (B,) int64 counts forward and backward passes of the surrogate, which are no queries.

    Example:
        >>> import torch, whywrong as ww
        >>> classifier = ww.load_classifier("planted:cnn", access="scores")
        >>> x, y = torch.rand(2, 3, 64, 64), torch.tensor([0, 1])
        >>> ww.black_box(classifier, x, y, config=ww.BlackBoxConfig(queries=2)).queries.shape
        torch.Size([2])
    """

    status: Sequence[Status] = column(
        "string",
        "`ok`: a change is known after which the true class is predicted; `no_answer`: none was found within the "
        "budget; `already_correct`, `bad_input` or `refused`.",
    )
    reason: Sequence[str | None] = column("string", "Why a row has no answer or is refused; null otherwise.")
    tier: Sequence[str] = column(
        "string", "Surrogate: `own` model, `bank` of models, `distilled` from answers, or `none`."
    )
    access: Sequence[str] = column(
        "string", "What was read of each answer: `scores`, `top` (scores of the best classes) or `labels`."
    )
    step: Sequence[str] = column(
        "string", "Step that found the change: `direction`, `corrected`, or the search without a surrogate; empty."
    )
    queries: Tensor = column("int64", "Changed images that the black box was asked about, repeated ones included.")
    training_queries: Tensor = column(
        "int64", "Images that it was asked about to train the surrogate, for all errors together."
    )
    path: list[list[dict[str, Any]]] = column(
        [{"step": "string", "queries": "int64"}], "Steps in their order, with the queries of each."
    )
    surrogate_passes: Tensor = column("int64", "Forward and backward passes of the surrogate; these are no queries.")
    l2: Tensor = column("float32", "l2 norm of the change; NaN without one.")
    linf: Tensor = column("float32", "linf norm of the change; NaN without one.")
    margin_before: Tensor = column(
        "float32", "Margin of the unchanged image: best other class minus true class; NaN for labels only."
    )
    margin_after: Tensor = column("float32", "The same for the best changed image.", check=True)
    fix_u8: Tensor = map_field("(B, C, H, W), grey levels 0..255: the changed image; NaN without one.")
    image_u8: Tensor = map_field("(B, C, H, W), grey levels 0..255: the image in whole grey levels; NaN without a fix.")
    forwards: Tensor
    backwards: Tensor

    @property
    def fixed(self) -> Tensor:
        """(B,), bool: rows with a change after which the true class is predicted."""
        return torch.tensor([word == Status.OK for word in self.status], dtype=torch.bool, device=self.l2.device)
