"""Searches without a surrogate, which take the images that its directions leave."""

from __future__ import annotations

from torch import Tensor

from whywrong.attacks.black_box.config import BlackBoxConfig
from whywrong.attacks.black_box.search import affordable
from whywrong.attacks.queries.call import QueryCall
from whywrong.attacks.queries.hop_skip_jump import HopSkipJumpConfig, hop_skip_jump
from whywrong.attacks.queries.memory import AnswerMemory
from whywrong.attacks.queries.pattern_search import PatternSearchConfig, pattern_search
from whywrong.attacks.queries.result import QueryResult
from whywrong.attacks.queries.square import SquareConfig, square
from whywrong.core.status import Status


def search_by_scores(
    call: QueryCall, rows: Tensor, known: Tensor, memory: AnswerMemory, config: BlackBoxConfig
) -> None:
    """Run the Square attack on ``rows`` (n,) with the budget that each has left.

    Rows with the same budget are searched together, so that its schedule does not depend on the batch.
    """
    for some, budget in _by_budget(call, rows, config):
        settings = SquareConfig(eps=config.eps, queries=budget, confirm=config.confirm, ask_again=0, seed=config.seed)
        x, y, keys = call.x[some], call.y[some], call.keys[some]
        _take(call, some, square(call.classifier, x, y, keys=keys, known=known[some], memory=memory, config=settings))


def search_by_labels(
    call: QueryCall, rows: Tensor, known: Tensor, memory: AnswerMemory, config: BlackBoxConfig
) -> None:
    """Try patterns in the ball with half of the budget that each of ``rows`` (n,) has left, then HopSkipJump.

    HopSkipJump walks along the boundary in l2. Its change counts if its norm is at most that of changing every pixel by
    the radius.
    """
    for some, budget in _by_budget(call, rows, config):
        few = PatternSearchConfig(
            eps=config.eps, queries=(budget + 1) // 2, confirm=config.confirm, ask_again=0, seed=config.seed
        )
        x, y, keys = call.x[some], call.y[some], call.keys[some]
        found = pattern_search(call.classifier, x, y, keys=keys, known=known[some], memory=memory, config=few)
        _take(call, some, found)
    eps = config.eps * call.x[0].numel() ** 0.5
    for some, budget in _by_budget(call, rows[call.going_on(rows)], config):
        settings = HopSkipJumpConfig(eps=eps, queries=budget, confirm=config.confirm, ask_again=0, seed=config.seed)
        x, y, keys = call.x[some], call.y[some], call.keys[some]
        found = hop_skip_jump(call.classifier, x, y, keys=keys, known=known[some], memory=memory, config=settings)
        _take(call, some, found)


def _by_budget(call: QueryCall, rows: Tensor, config: BlackBoxConfig) -> list[tuple[Tensor, int]]:
    """Group rows (n,) by how many images each may still ask about."""
    rows = rows[affordable(call, rows, config)]
    left = call.left(rows)
    if config.total is not None and len(rows):
        left = left.clamp(max=max(0, (config.total - int(call.queries.sum())) // len(rows)))
    return [(rows[left == budget], int(budget)) for budget in left.unique().tolist() if budget]


def _take(call: QueryCall, rows: Tensor, found: QueryResult) -> None:
    """Take over what another attack found; its answers are in the common memory, so that asking costs nothing."""
    call.queries.index_add_(0, rows, found.queries)
    call.count(rows, forwards=found.forwards)
    good = found.found
    answers = call.ask(rows[good], found.image[good])
    call.keep(rows[good], found.image[good], answers)
    for row, word, why in zip(rows.tolist(), found.status, found.reason, strict=True):
        if word == Status.REFUSED or (word == Status.NO_ANSWER and why is not None):
            call.mark(row, word, why)
