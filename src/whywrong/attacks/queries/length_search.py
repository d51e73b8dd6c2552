"""Search the length of given directions, which needs labels only.

Directions come from elsewhere, such as the gradient of a surrogate model; queries are spent on their length alone.
Source: ours, docs/guides/black_boxes.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from whywrong.attacks.balls import unit
from whywrong.attacks.queries.call import QueryCall
from whywrong.attacks.queries.config import QueryConfig
from whywrong.attacks.queries.grid import GreyBall
from whywrong.attacks.queries.memory import AnswerMemory
from whywrong.attacks.queries.result import QueryResult
from whywrong.core.access import Access
from whywrong.core.errors import InputError
from whywrong.core.result import result_class
from whywrong.models.classifier import Classifier


@dataclass(frozen=True, slots=True, kw_only=True)
class LengthSearchConfig(QueryConfig):
    """Settings of :func:`length_search`, in addition to those of :class:`QueryConfig`.

    Attributes:
        lengths: Lengths of a change to try, in grey levels (1/255) in ``norm``, in this order; those beyond ``eps`` are
            left out, and ``eps`` itself is tried last. In linf a direction gives its signs.
        refine: Bisections between the length that reached the goal and the last shorter one that did not.
    """

    lengths: tuple[float, ...] = (2, 4, 6, 8, 12, 16)
    refine: int = 0

    def __post_init__(self) -> None:
        QueryConfig.__post_init__(self)
        if not self.lengths or not all(length > 0 and math.isfinite(length) for length in self.lengths):
            raise InputError(f"lengths must be positive numbers of grey levels, got {self.lengths}")
        if self.refine < 0:
            raise InputError(f"refine must be at least 0, got {self.refine}")


@result_class
class LengthSearchResult(QueryResult):
    """Result of :func:`length_search`, see :class:`QueryResult`.

    ``direction`` (B,) int64 is the direction that reached the goal, -1 if none did.
    """

    direction: Tensor


def length_search(
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    directions: Tensor,
    *,
    keys: Tensor | None = None,
    known: Tensor | None = None,
    memory: AnswerMemory | None = None,
    config: LengthSearchConfig | None = None,
) -> LengthSearchResult:
    """Go along given directions until an image has class ``y``.

    Args:
        classifier: Maps images (B, C, H, W) in [0, 1] to scores or labels. Gradients are not used.
        x: Images, (B, C, H, W), floating point, in [0, 1]; not modified.
        y: Classes, (B,), int64. With ``targeted``, the classes to reach; otherwise the classes to avoid.
        directions: (B, D, C, H, W), directions of change, tried in this order; of any length. A zero is skipped.
        keys: Keys of the images in ``memory``, (B,), int64; default derived from ``config.seed`` and the row index.
        known: Logits (B, K) or predicted classes (B,) of the unchanged images, if already known.
        memory: Earlier answers, which are reused; new answers are added to it.
        config: Settings; None uses the defaults of :class:`LengthSearchConfig`.

    Returns:
        Images that reach the goal, and the number of queries per image.

    Raises:
        InputError: A shape, type or class is invalid.
        EnvironmentFailure: The model changed during the attack.
    """
    config = config or LengthSearchConfig()
    check_directions(directions, x)
    call = QueryCall(
        classifier,
        x,
        y,
        keys=keys,
        config=config,
        access=Access.LABELS,
        method="a search of lengths",
        known=known,
        memory=memory,
    )
    with call:
        rows, _ = call.begin()
        chosen = torch.full_like(call.y, -1)
        lengths = [length / 255 for length in config.lengths if length / 255 < config.eps * (1 - 1e-6)] + [config.eps]
        for place in range(directions.shape[1]):
            shorter = torch.zeros(len(call.x), device=call.x.device)
            steepest = _direction(directions[:, place].to(call.x), config.norm)
            moving = steepest.flatten(1).any(1)
            for length in lengths:
                rows = rows[call.going_on(rows) & moving[rows]]
                if not len(rows):
                    break
                reached = _try(call, rows, steepest, torch.full_like(shorter[rows], length))
                chosen[rows[reached]] = place
                _bisect(call, rows[reached], steepest, shorter, length, config.refine)
                shorter[rows] = length
            rows = call.rows[~call.found[call.rows]]
        return call.result(LengthSearchResult, direction=chosen)


def check_directions(directions: Tensor, x: Tensor) -> None:
    """Check that directions are finite numbers (B, D, C, H, W) for images ``x`` (B, C, H, W).

    Raises:
        InputError: They are not.
    """
    if not isinstance(directions, Tensor) or directions.ndim != 5 or not directions.is_floating_point():
        got = tuple(directions.shape) if isinstance(directions, Tensor) else type(directions).__name__
        raise InputError(f"directions must be a floating-point tensor (B, D, C, H, W), got {got}")
    if directions.shape[:1] + directions.shape[2:] != x.shape:
        raise InputError(f"directions {tuple(directions.shape)} do not fit the images {tuple(x.shape)}")
    if not bool(directions.isfinite().all()):
        raise InputError("directions must be finite")


def _direction(direction: Tensor, norm: str) -> Tensor:
    return direction.sign() if norm == "linf" else unit(direction)


def _try(call: QueryCall, rows: Tensor, direction: Tensor, length: Tensor) -> Tensor:
    """Ask changes of these lengths (n,), keep those that reach the goal, and return which do."""
    ball = GreyBall(call.ball.x[rows], call.config.eps, call.config.norm)
    pixels = ball.nearest(ball.x + length.view(-1, 1, 1, 1) * direction[rows])
    answers = call.ask(rows, pixels)
    reached = answers.reached
    call.keep(rows[reached], pixels[reached], answers.at(reached))
    return reached


def _bisect(call: QueryCall, rows: Tensor, direction: Tensor, shorter: Tensor, length: float, steps: int) -> None:
    """Shorten changes of ``rows`` that reach the goal."""
    low, high = shorter[rows], torch.full_like(shorter[rows], length)
    for _ in range(steps):
        open_rows = call.left(rows) > 0
        rows, low, high = rows[open_rows], low[open_rows], high[open_rows]
        if not len(rows):
            return
        middle = (low + high) / 2
        reached = _try(call, rows, direction, middle)
        low, high = middle.where(~reached, low), middle.where(reached, high)
