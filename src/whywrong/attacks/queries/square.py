"""Square attack: random search with changes of squares at the surface of a ball.

Source: Andriushchenko, Croce, Flammarion and Hein 2020, arXiv 1912.00049, algorithms 1 to 3.
Differences: the search begins at everyday edits of the image; images have whole grey levels; squares may lie in the
last row and column; and a square that changes nothing gets the other sign instead of new ones.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from whywrong.attacks.queries.call import QueryCall
from whywrong.attacks.queries.config import QueryConfig
from whywrong.attacks.queries.everyday import EDITS
from whywrong.attacks.queries.grid import GreyBall
from whywrong.attacks.queries.memory import AnswerMemory
from whywrong.attacks.queries.pattern_search import try_patterns
from whywrong.attacks.queries.result import QueryResult
from whywrong.attacks.queries.windows import bumps, random_windows, tiles
from whywrong.core.access import Access
from whywrong.core.errors import InputError
from whywrong.core.randomness import keyed_sign
from whywrong.core.result import result_class
from whywrong.models.classifier import Classifier

_HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # of 10,000 queries, section 4.1
_DRAWS = 8  # random numbers of a step

_First = Callable[[Tensor, GreyBall, Tensor], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class SquareConfig(QueryConfig):
    """Settings of :func:`square`, in addition to those of :class:`QueryConfig`.

    Attributes:
        share: Share of the pixels in the first square, in (0, 1]; it is halved nine times on the way.
        edits: Whether the search begins at the best of six everyday edits of the image, such as blur and contrast, cut
            to the ball; otherwise, as in the paper, at random stripes (linf) or tiles (l2).
    """

    share: float = 0.8
    edits: bool = True

    def __post_init__(self) -> None:
        QueryConfig.__post_init__(self)
        if not 0 < self.share <= 1:
            raise InputError(f"share must be in (0, 1], got {self.share}")


@result_class
class SquareResult(QueryResult):
    """Result of :func:`square`, see :class:`QueryResult`."""


def square(
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    *,
    keys: Tensor | None = None,
    start: Tensor | None = None,
    known: Tensor | None = None,
    memory: AnswerMemory | None = None,
    config: SquareConfig | None = None,
) -> SquareResult:
    """Search a ball for an image of class ``y`` by random changes of squares.

    Where scores stop changing, as rounded ones do, it goes on as :func:`pattern_search` does, with labels alone.

    Args:
        classifier: Maps images (B, C, H, W) in [0, 1] to scores (B, K). Gradients are not used.
        x: Images, (B, C, H, W), floating point, in [0, 1]; not modified.
        y: Classes, (B,), int64. With ``targeted``, the classes to reach; otherwise the classes to avoid.
        keys: Seed of each image's random numbers, (B,), int64; default derived from ``config.seed`` and the row index.
        start: Starting images (B, C, H, W), projected onto the ball; by default chosen by the setting ``edits``.
        known: Logits (B, K) of the unchanged images if already known; otherwise each image is queried once.
        memory: Earlier answers, which are reused; new answers are added to it.
        config: Settings; None uses the defaults of :class:`SquareConfig`.

    Returns:
        Images that reach the goal, and the number of queries per image.

    Raises:
        InputError: A shape, type or class is invalid.
        AccessError: The classifier grants labels only.
        EnvironmentFailure: The model changed during the attack.
    """
    config = config or SquareConfig()
    call = QueryCall(
        classifier, x, y, keys=keys, config=config, access=Access.TOP, method="square", known=known, memory=memory
    )
    with call:
        rows, _ = call.begin()
        if len(rows):
            _search(call, rows, config, start)
            try_patterns(call, rows[call.going_on(rows, flat=True)])
        return call.result(SquareResult)


def _search(call: QueryCall, rows: Tensor, config: SquareConfig, start: Tensor | None) -> None:
    """Run algorithm 1 on the images of ``rows``."""
    ball = call.ball.at(rows)
    first = _firsts(config, start)
    propose = _square_linf if config.norm == "linf" else _square_l2
    best, margin = ball.x.clone(), torch.full_like(rows, torch.inf, dtype=ball.x.dtype)
    # Images that were asked before cost nothing, so that there may be more steps than queries.
    for step in range(2 * config.queries + 50):
        stay = call.going_on(rows)
        rows, ball, best, margin = rows[stay], ball.at(stay), best[stay], margin[stay]
        if not len(rows):
            return
        if step < len(first):
            tried = ball.nearest(first[step](rows, ball, call.keys[rows]))
        else:
            side = _side(config, step, best.shape)
            tried = propose(ball, best, side, call.keys[rows], _DRAWS * (step + 1))
        answers = call.ask(rows, tried)
        call.compare(rows, answers)
        better = answers.reached | (answers.margin < margin)
        best[better], margin[better] = tried[better], answers.margin[better]
        call.keep(rows[better], tried[better], answers.at(better))


def _side(config: SquareConfig, step: int, shape: torch.Size) -> int:
    """Return the side of the squares of a step, in pixels."""
    at = step * 10_000 // config.queries
    share = config.share / 2 ** sum(at > halving for halving in _HALVINGS)
    shorter = min(shape[2:])
    return max(1, min(round((share * shape[2] * shape[3]) ** 0.5), shorter - 1))


def _firsts(config: SquareConfig, start: Tensor | None) -> list[_First]:
    """Return the functions of rows, balls and keys that make the first images."""
    if start is not None:
        return [lambda rows, ball, keys: start.to(ball.x)[rows]]
    if config.edits:
        return [lambda rows, ball, keys, edit=edit: edit(ball, keys) for edit in EDITS]
    return [lambda rows, ball, keys: _surface(ball, keys)]


def _surface(ball: GreyBall, keys: Tensor) -> Tensor:
    """Draw the first images, vertical stripes in linf and tiles of bumps in l2."""
    _, channels, height, width = ball.x.shape
    if ball.norm == "linf":
        return ball.x + ball.eps * keyed_sign(keys, (channels, 1, width))
    delta = tiles(keys, (channels, height, width))
    return ball.x + ball.eps * delta / delta.flatten(1).norm(dim=1).view(-1, 1, 1, 1)


def _square_linf(ball: GreyBall, best: Tensor, side: int, keys: Tensor, draw: int) -> Tensor:
    """Set a random square of each image to the surface of the ball, with a random sign per channel (algorithm 2)."""
    inside = random_windows(keys, side, best.shape, draw)
    sign = keyed_sign(keys, (best.shape[1], 1, 1), draw + 2)
    tried = ball.nearest(torch.where(inside, ball.x + ball.eps * sign, best))
    idle = (tried == best).flatten(1).all(1)
    if bool(idle.any()):
        other = ball.at(idle)
        tried[idle] = other.nearest(torch.where(inside[idle], other.x - ball.eps * sign[idle], best[idle]))
    return tried


def _square_l2(ball: GreyBall, best: Tensor, side: int, keys: Tensor, draw: int) -> Tensor:
    """Move the norm in one random window of each image to a bump in another one (algorithm 3)."""
    side = min(max(side, 3) // 2 * 2 + 1, *best.shape[2:])
    delta = best - ball.x
    to = random_windows(keys, side, best.shape, draw)
    source = random_windows(keys, side, best.shape, draw + 2)
    total = delta.square().sum((1, 2, 3), keepdim=True)
    moved = (delta.square() * (to | source)).sum((2, 3), keepdim=True)  # (n, C, 1, 1)
    free = (ball.eps**2 - total).clamp_min(0) / best.shape[1]
    inside = delta * to
    length = inside.square().sum((2, 3), keepdim=True).sqrt()
    new = bumps(keys, to, side, draw + 4) * keyed_sign(keys, (best.shape[1], 1, 1), draw + 6)
    new = new + inside / (length + 1e-10)
    new = new / new.square().sum((2, 3), keepdim=True).sqrt().clamp_min(1e-10) * (free + moved).sqrt()
    delta = torch.where(to, new, delta.masked_fill(source, 0.0))
    size = delta.square().sum((1, 2, 3), keepdim=True).sqrt().clamp_min(1e-10)
    return ball.nearest(ball.x + delta * (ball.eps / size))
