"""Relevance maps of a batch, with their conservation check."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from whywrong.core.result import MethodResult, column, computed, map_field, result_class
from whywrong.core.status import Status


@result_class
class RelevanceResult(MethodResult):
    """Maps of a batch and their cost in passes; maps of rows that are not ``ok`` are NaN.

    Example:
        >>> import torch, whywrong as ww
        >>> classifier = ww.load_classifier("planted:cnn")
        >>> x, y = torch.rand(2, 3, 64, 64), torch.tensor([0, 1])
        >>> ww.relevance(classifier, x, y).difference.shape
        torch.Size([2, 56, 56])
    """

    status: Sequence[Status] = column("string", "`ok`, `refused`, `skipped` or `bad_input`.")
    reason: Sequence[str | None] = column("string", "Why there is no map; null otherwise.")
    rule: str = column("string", "Rule of the layers.")
    first: str = column("string", "Rule of the first layer.")
    attention: str = column("string", "Rule of attention; without effect in a model that has none.")
    contrast: str = column("string", "How the two classes are compared.")
    unit: str = column("string", "`logits`, or `share` if each class's relevance sums to 1.")
    target: Tensor = column(
        "int64", "The class t: the predicted one where the image is wrong, else the runner-up; -1 if unknown."
    )
    residual: Tensor = column(
        "float32", "Worst of all propagations: relevance neither in the map nor in a constant, share.", check=True
    )
    bias: Tensor = column("float32", "Share of the relevance of t that constants absorbed, such as biases.")
    softmax: Tensor = column("float32", "Share that the constant terms of softmaxes absorbed (AttnLRP).")
    bias_true: Tensor = column("float32", "Share of the relevance of y that constants absorbed.")
    evidence: Tensor = column("float32", "Sum of the difference map.")
    overlap: Tensor = column("float32", "Share of the strongest tenth of the cells of t that is also among those of y.")
    difference: Tensor = map_field("(B, h, w), relevance for t less that for y; positive speaks for the wrong class.")
    wrong: Tensor = map_field("(B, h, w), relevance for t.")
    true: Tensor = map_field("(B, h, w), relevance for y.")
    forwards: Tensor
    backwards: Tensor

    @computed("int64")
    def rows(self) -> int:
        """Rows of the map."""
        return self.difference.shape[1]

    @computed("int64")
    def cols(self) -> int:
        """Columns of the map."""
        return self.difference.shape[2]
