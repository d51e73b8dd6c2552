"""Result of the method ``signs``, with one column for each sign."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from whywrong.core.result import Column, ColumnGroup, MethodResult, column, nested, result_class
from whywrong.core.status import Status
from whywrong.explain.signs.listing import SIGNS


class SignValues(ColumnGroup):
    """Values of all signs, one column each.

    Args:
        matrix: (B, S) float32, in the order of :data:`SIGNS`.
    """

    __slots__ = ("matrix",)

    def __init__(self, matrix: Tensor) -> None:
        self.matrix = matrix

    @classmethod
    def declared(cls) -> tuple[Column, ...]:
        """Return one column for each sign."""
        return tuple(Column(name=sign.name, kind="float32", doc=sign.doc) for sign in SIGNS)

    def columns(self) -> Mapping[str, Tensor | Sequence[Any]]:
        """Return the values by name."""
        return {sign.name: self.matrix[:, place] for place, sign in enumerate(SIGNS)}


@result_class
class SignsResult(MethodResult):
    """Signs of a batch and their cost in passes, one row per image.

    NaN means that a sign was not asked for, needs more than the model or the image offers, or is not finite.

    Example:
        >>> import torch, whywrong as ww
        >>> classifier = ww.load_classifier("planted:cnn")
        >>> x, y = torch.rand(2, 3, 64, 64), torch.tensor([0, 1])
        >>> ww.signs(classifier, x, y, config=ww.SignsConfig(stages=("pixels",)))["luma"].shape
        torch.Size([2])
    """

    status: Sequence[Status] = column("string", "`ok`, `already_correct`, `skipped`, `bad_input` or `refused`.")
    reason: Sequence[str | None] = column("string", "Why a row is refused; null otherwise.")
    window: Tensor = column("int64", "Window that takes most from the margin, numbered by rows; -1 if none.")
    values: SignValues = nested(SignValues)
    forwards: Tensor
    backwards: Tensor

    def __getitem__(self, name: str) -> Tensor:
        """Return one sign, (B,) float32.

        Raises:
            KeyError: No such sign.
        """
        return self.values.matrix[:, _PLACES[name]]


_PLACES = {sign.name: place for place, sign in enumerate(SIGNS)}


def sign_matrix(result: SignsResult) -> Tensor:
    """Return the signs as one matrix.

    Returns:
        (B, S) float32, in the order of :data:`SIGNS`; NaN where a sign is not known.
    """
    return result.values.matrix
