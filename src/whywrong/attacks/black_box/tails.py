"""Searches without a surrogate, which take the images that its directions leave."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from whywrong.attacks.black_box.config import BlackBoxConfig
from whywrong.attacks.black_box.search import affordable
from whywrong.attacks.queries.call import QueryCall
from whywrong.attacks.queries.memory import AnswerMemory
from whywrong.attacks.queries.square import SquareConfig, square
from whywrong.core.status import Status


def search_by_scores(
    call: QueryCall, rows: Tensor, known: Tensor, memory: AnswerMemory, config: BlackBoxConfig
) -> None:
    """Run the Square attack on ``rows`` (n,) with the budget that each has left.

    Rows with the same budget are searched together, so that its schedule does not depend on the batch.
    """
    rows = rows[affordable(call, rows, config)]
    left = call.left(rows)
    if config.total is not None and len(rows):
        left = left.clamp(max=max(0, (config.total - int(call.queries.sum())) // len(rows)))
    for budget in left.unique().tolist():
        some = rows[left == budget]
        if not budget:
            continue
        settings = SquareConfig(eps=config.eps, queries=budget, confirm=config.confirm, ask_again=0, seed=config.seed)
        found = square(
            call.classifier, call.x[some], call.y[some], keys=call.keys[some], known=known[some], memory=memory,
            config=settings,
        )  # fmt: skip
        call.queries.index_add_(0, some, found.queries)
        call.count(some, forwards=found.forwards)
        _take(call, some, found.image, found.status, found.reason)


def _take(call: QueryCall, rows: Tensor, image: Tensor, status: Sequence[Status], reason: Sequence[str | None]) -> None:
    """Take over what another attack found; its answers are in the common memory, so that asking costs nothing."""
    good = torch.tensor([word == Status.OK for word in status], dtype=torch.bool, device=rows.device)
    answers = call.ask(rows[good], image[good])
    call.keep(rows[good], image[good], answers)
    for row, word, why in zip(rows.tolist(), status, reason, strict=True):
        if word == Status.REFUSED or (word == Status.NO_ANSWER and why is not None):
            call.mark(row, word, why)
