"""Result that all query attacks share."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from whywrong.core.result import MethodResult, column, map_field, result_class
from whywrong.core.status import Status


@result_class
class QueryResult(MethodResult):
    """Changed images of a batch and their queries.

    Distances are in units of the [0, 1] pixel range, from the image rounded to whole grey levels.
    """

    status: Sequence[Status] = column(
        "string",
        "`ok` (a change reaches the goal), `no_answer` (none was found within the budget), `already_correct` (the "
        "unchanged image reaches it), `bad_input`, or `refused` (the answers are not usable).",
    )
    found: Tensor = column("bool", "Whether `image` reaches the goal, as asked.")
    queries: Tensor = column("int64", "Changed images that were asked, repeated questions included.")
    l2: Tensor = column("float32", "l2 norm of the change.")
    linf: Tensor = column("float32", "linf norm of the change.")
    margin: Tensor = column(
        "float32",
        "Margin of `image`: best other class minus the class asked for; a lower bound if the classifier names only its "
        "best classes, NaN if it gives labels or `image` was not asked.",
    )
    plateau: Tensor = column(
        "bool", "Whether the scores stopped changing, as rounded ones do, so that from then on only labels were used."
    )
    image: Tensor = map_field(
        "(B, C, H, W), in whole grey levels (multiples of 1/255): the image that reaches the goal, otherwise the best "
        "one asked, or the rounded image itself."
    )
    reason: Sequence[str | None]
    forwards: Tensor
    backwards: Tensor
