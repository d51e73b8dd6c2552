"""SimBA with low frequencies: one step along one cosine at a time, kept if the margin falls.

Source: Guo, Gardner, You, Wilson and Weinberger 2019, arXiv 1905.07121, algorithm 1 and section 3.3.
Differences: images have whole grey levels; and in linf the ball limits the sum of all steps.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from whywrong.attacks.balls import BallNorm
from whywrong.attacks.queries.call import QueryCall
from whywrong.attacks.queries.config import QueryConfig
from whywrong.attacks.queries.grid import GreyBall
from whywrong.attacks.queries.memory import AnswerMemory
from whywrong.attacks.queries.result import QueryResult
from whywrong.core.access import Access
from whywrong.core.errors import InputError
from whywrong.core.randomness import keyed_uniform
from whywrong.core.result import result_class
from whywrong.models.classifier import Classifier


@dataclass(frozen=True, slots=True, kw_only=True)
class SimbaConfig(QueryConfig):
    """Settings of :func:`simba`, in addition to those of :class:`QueryConfig`.

    Attributes:
        norm: Norm of the ball, by default ``l2``.
        eps: Radius of the ball in [0, 1] units.
        step: l2 length of a step in [0, 1] units.
        frequencies: Share of the frequencies along each side that is used, the lowest ones, in (0, 1].
    """

    norm: BallNorm = "l2"
    eps: float = 4.0
    step: float = 0.5
    frequencies: float = 0.4375

    def __post_init__(self) -> None:
        QueryConfig.__post_init__(self)
        if not (self.step > 0 and math.isfinite(self.step)):
            raise InputError(f"step must be positive and finite, got {self.step}")
        if not 0 < self.frequencies <= 1:
            raise InputError(f"frequencies must be in (0, 1], got {self.frequencies}")


@result_class
class SimbaResult(QueryResult):
    """Result of :func:`simba`, see :class:`QueryResult`."""


def simba(
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    *,
    keys: Tensor | None = None,
    start: Tensor | None = None,
    known: Tensor | None = None,
    memory: AnswerMemory | None = None,
    config: SimbaConfig | None = None,
) -> SimbaResult:
    """Search for an image of class ``y`` along single cosines, in a random order.

    Args:
        classifier: Maps images (B, C, H, W) in [0, 1] to scores (B, K). Gradients are not used.
        x: Images, (B, C, H, W), floating point, in [0, 1]; not modified.
        y: Classes, (B,), int64. With ``targeted``, the classes to reach; otherwise the classes to avoid.
        keys: Seed of each image's random numbers, (B,), int64; default derived from ``config.seed`` and the row index.
        start: Starting images (B, C, H, W), projected onto the ball and queried first; default ``x``.
        known: Logits (B, K) of the unchanged images if already known; otherwise each image is queried once.
        memory: Earlier answers, which are reused; new answers are added to it.
        config: Settings; None uses the defaults of :class:`SimbaConfig`.

    Returns:
        Images that reach the goal, and the number of queries per image.

    Raises:
        InputError: A shape, type or class is invalid.
        AccessError: The classifier grants labels only.
        EnvironmentFailure: The model changed during the attack.
    """
    config = config or SimbaConfig()
    call = QueryCall(
        classifier, x, y, keys=keys, config=config, access=Access.SCORES, method="simba", known=known, memory=memory
    )
    with call:
        rows, answers = call.begin()
        best, margin = call.ball.x[rows], answers.margin
        if start is not None and len(rows):
            best = call.ball.at(rows).nearest(start.to(best)[rows])
            answers = call.ask(rows, best)
            call.keep(rows, best, answers)
            margin = answers.margin
        _search(call, rows, best, margin, config)
        return call.result(SimbaResult)


def _search(call: QueryCall, rows: Tensor, best: Tensor, margin: Tensor, config: SimbaConfig) -> None:
    """Try one cosine of each image after the other, first forward, then backward."""
    channels, height, width = best.shape[1:]
    down, across = (max(1, round(config.frequencies * side)) for side in (height, width))
    count = channels * down * across
    order = keyed_uniform(call.keys[rows], (count,)).argsort(1)
    for turn in range(2 * config.queries + 50):
        stay = call.going_on(rows)
        rows, best, margin, order = rows[stay], best[stay], margin[stay], order[stay]
        if not len(rows):
            return
        which = order[:, turn % count]
        cosine = config.step * _cosines(which, (channels, down, across), best)
        ball, open_rows = call.ball.at(rows), torch.arange(len(rows), device=rows.device)
        for sign in (1.0, -1.0):
            better = _step(call, rows, ball, best, margin, cosine, open_rows, sign)
            open_rows = open_rows[~better]
            open_rows = open_rows[call.going_on(rows[open_rows])]
            if not len(open_rows):
                break


def _step(
    call: QueryCall,
    rows: Tensor,
    ball: GreyBall,
    best: Tensor,
    margin: Tensor,
    cosine: Tensor,
    which: Tensor,
    sign: float,
) -> Tensor:
    """Ask a step of the images ``which``, keep those that lower the margin, and return which do."""
    tried = ball.at(which).nearest(best[which] + sign * cosine[which])
    answers = call.ask(rows[which], tried)
    call.compare(rows[which], answers)
    better = answers.reached | (answers.margin < margin[which])
    best[which[better]], margin[which[better]] = tried[better], answers.margin[better]
    call.keep(rows[which[better]], tried[better], answers.at(better))
    return better


def _cosines(which: Tensor, shape: tuple[int, int, int], like: Tensor) -> Tensor:
    """Return cosines (n, C, H, W) of l2 norm 1, given their numbers (n,) in the grid of channels and frequencies."""
    _, down, across = shape
    channel = which // (down * across)
    waves = []
    for frequency, side in ((which // across % down, like.shape[2]), (which % across, like.shape[3])):
        place = torch.arange(side, device=like.device, dtype=torch.float64) + 0.5
        wave = (math.pi / side * frequency[:, None] * place).cos()
        waves.append((wave / wave.norm(dim=1, keepdim=True)).to(like.dtype))
    plane = waves[0][:, :, None] * waves[1][:, None, :]
    found = torch.zeros_like(like)
    found[torch.arange(len(which), device=like.device), channel] = plane
    return found
