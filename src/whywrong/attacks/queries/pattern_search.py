"""Search a ball with edits and random patterns, by labels alone.

Source: ours, docs/guides/black_boxes.md. Errors lie close to the boundary, so that a random pattern often crosses it.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from whywrong.attacks.balls import unit
from whywrong.attacks.queries.call import QueryCall
from whywrong.attacks.queries.config import QueryConfig
from whywrong.attacks.queries.everyday import EDITS
from whywrong.attacks.queries.memory import AnswerMemory
from whywrong.attacks.queries.patterns import pattern
from whywrong.attacks.queries.result import QueryResult
from whywrong.core.access import Access
from whywrong.core.result import result_class
from whywrong.models.classifier import Classifier

_STRENGTHS = (1.0, 0.5)  # shares of the radius, each for four patterns
_KEPT_APART = 1_000  # first number of a pattern, beyond those of the edits


@dataclass(frozen=True, slots=True, kw_only=True)
class PatternSearchConfig(QueryConfig):
    """Settings of :func:`pattern_search`, which has only those of :class:`QueryConfig`."""


@result_class
class PatternSearchResult(QueryResult):
    """Result of :func:`pattern_search`, see :class:`QueryResult`."""


def pattern_search(
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    *,
    keys: Tensor | None = None,
    known: Tensor | None = None,
    memory: AnswerMemory | None = None,
    config: PatternSearchConfig | None = None,
) -> PatternSearchResult:
    """Try everyday edits and then random patterns in a ball until an image has class ``y``.

    Args:
        classifier: Maps images (B, C, H, W) in [0, 1] to scores or labels. Only labels are used.
        x: Images, (B, C, H, W), floating point, in [0, 1]; not modified.
        y: Classes, (B,), int64. With ``targeted``, the classes to reach; otherwise the classes to avoid.
        keys: Seed of each image's random numbers, (B,), int64; default derived from ``config.seed`` and the row index.
        known: Logits (B, K) or predicted classes (B,) of the unchanged images, if already known.
        memory: Earlier answers, which are reused; new answers are added to it.
        config: Settings; None uses the defaults of :class:`PatternSearchConfig`.

    Returns:
        Images that reach the goal, and the number of queries per image.

    Raises:
        InputError: A shape, type or class is invalid.
        EnvironmentFailure: The model changed during the attack.
    """
    config = config or PatternSearchConfig()
    call = QueryCall(
        classifier,
        x,
        y,
        keys=keys,
        config=config,
        access=Access.LABELS,
        method="pattern_search",
        known=known,
        memory=memory,
    )
    with call:
        rows, _ = call.begin()
        for edit in EDITS:
            rows = rows[call.going_on(rows)]
            if len(rows):
                _try(call, rows, edit(call.ball.at(rows), call.keys[rows]))
        try_patterns(call, rows)
        return call.result(PatternSearchResult)


def try_patterns(call: QueryCall, rows: Tensor) -> None:
    """Try random patterns in the balls of rows until they reach the goal or have no budget left."""
    # A pattern of few signs may have been asked before, which costs nothing.
    for number in range(2 * call.config.queries + 50):
        rows = rows[call.going_on(rows, flat=True)]
        if not len(rows):
            return
        change = pattern(call.keys[rows], call.x.shape[1:], _KEPT_APART + number)
        strength = call.config.eps * _STRENGTHS[number // 4 % len(_STRENGTHS)]
        _try(call, rows, call.ball.x[rows] + strength * (unit(change) if call.config.norm == "l2" else change))


def _try(call: QueryCall, rows: Tensor, pixels: Tensor) -> None:
    """Ask images of the ball near ``pixels`` (n, C, H, W) and keep those that reach the goal."""
    tried = call.ball.at(rows).nearest(pixels)
    answers = call.ask(rows, tried)
    reached = answers.reached
    call.keep(rows[reached], tried[reached], answers.at(reached))
