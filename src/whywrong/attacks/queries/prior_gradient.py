"""Descent along gradients that are estimated from scores with the help of a prior direction (P-RGF).

Source: Cheng, Dong, Pang, Su and Zhu 2019, arXiv 1906.06919, algorithm 1; the prior and random directions orthogonal to
it are probed and the gradient is projected on them, as in Cheng, Wu and Zhu 2021, arXiv 2107.10110, section 3.
Differences: images have whole grey levels, so that probes are long and derivatives are those of the changes that were
really asked; and a step that does not lower the margin is halved.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from whywrong.attacks.balls import norm_of, unit
from whywrong.attacks.queries.call import QueryCall
from whywrong.attacks.queries.config import QueryConfig
from whywrong.attacks.queries.memory import AnswerMemory
from whywrong.attacks.queries.result import QueryResult
from whywrong.core.access import Access
from whywrong.core.errors import InputError
from whywrong.core.randomness import keyed_normal
from whywrong.core.result import result_class
from whywrong.models.classifier import Classifier

_SHORTER = 3  # lengths of a step that are tried, each half of the one before

Prior = Tensor | Callable[[Tensor, Tensor, Tensor], Tensor]
"""Directions (B, C, H, W), or a function of rows (n,), pixels (n, C, H, W) and classes (n,) to (n, C, H, W)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriorGradientConfig(QueryConfig):
    """Settings of :func:`prior_gradient`, in addition to those of :class:`QueryConfig`.

    Attributes:
        probes: Random probes of each estimate.
        probe: Length of a probe, root mean square per pixel in grey levels; at least 0.25.
        steps: Steps that would cross the ball; a step is ``eps`` divided by it.
    """

    probes: int = 10
    probe: float = 2.0
    steps: int = 4

    def __post_init__(self) -> None:
        QueryConfig.__post_init__(self)
        for name in ("probes", "steps"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0.25 <= self.probe <= 255:
            raise InputError(f"probe must be in 0.25..255 grey levels, got {self.probe}")


@result_class
class PriorGradientResult(QueryResult):
    """Result of :func:`prior_gradient`, see :class:`QueryResult`."""


def prior_gradient(
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    prior: Prior | None,
    *,
    keys: Tensor | None = None,
    start: Tensor | None = None,
    known: Tensor | None = None,
    memory: AnswerMemory | None = None,
    config: PriorGradientConfig | None = None,
) -> PriorGradientResult:
    """Descend along estimated gradients of the margin, mixed from a prior direction and random probes.

    Args:
        classifier: Maps images (B, C, H, W) in [0, 1] to scores (B, K). Gradients are not used.
        x: Images, (B, C, H, W), floating point, in [0, 1]; not modified.
        y: Classes, (B,), int64. With ``targeted``, the classes to reach; otherwise the classes to avoid.
        prior: Direction that is expected to lower the margin, such as the negative gradient of a surrogate: a tensor
            (B, C, H, W), or a function of rows (n,), pixels and classes that is called at every step. None, a zero or a
            direction that is not finite gives random probes alone.
        keys: Seed of each image's random numbers, (B,), int64; default derived from ``config.seed`` and the row index.
        start: Starting images (B, C, H, W), projected onto the ball and queried first; default ``x``.
        known: Logits (B, K) of the unchanged images if already known; otherwise each image is queried once.
        memory: Earlier answers, which are reused; new answers are added to it.
        config: Settings; None uses the defaults of :class:`PriorGradientConfig`.

    Returns:
        Images that reach the goal, and the number of queries per image, including probes.

    Raises:
        InputError: A shape, type or class is invalid.
        AccessError: The classifier grants labels only.
        EnvironmentFailure: The model changed during the attack.
    """
    config = config or PriorGradientConfig()
    call = QueryCall(
        classifier,
        x,
        y,
        keys=keys,
        config=config,
        access=Access.SCORES,
        method="prior_gradient",
        known=known,
        memory=memory,
    )
    with call:
        rows, answers = call.begin()
        here, margin = call.ball.x[rows], answers.margin
        if start is not None and len(rows):
            here = call.ball.at(rows).nearest(start.to(here)[rows])
            answers = call.ask(rows, here)
            call.keep(rows, here, answers)
            margin = answers.margin
        for step in range(config.queries + 50):
            stay = call.going_on(rows)
            rows, here, margin = rows[stay], here[stay], margin[stay]
            if not len(rows):
                break
            told = _ask_prior(prior, rows, here, call.y[rows])
            direction = _estimate(call, rows, here, margin, told, step, config)
            here, margin = _move(call, rows, here, margin, direction, config)
        return call.result(PriorGradientResult)


def _ask_prior(prior: Prior | None, rows: Tensor, here: Tensor, y: Tensor) -> Tensor:
    """Return unit directions (n, C, H, W) of the prior, zero if there is none."""
    if prior is None:
        return torch.zeros_like(here)
    found = prior[rows] if isinstance(prior, Tensor) else prior(rows, here, y)
    if not isinstance(found, Tensor) or found.shape != here.shape:
        got = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise InputError(f"prior must give directions {tuple(here.shape)}, one an image, got {got}")
    found = found.to(here)
    return unit(found.where(found.isfinite().flatten(1).all(1).view(-1, 1, 1, 1), 0.0))


def _estimate(
    call: QueryCall, rows: Tensor, here: Tensor, margin: Tensor, prior: Tensor, step: int, config: PriorGradientConfig
) -> Tensor:
    """Estimate the direction (n, C, H, W) that lowers the margin.

    It is the projection of the gradient on the prior and the random directions, which are orthogonal to it.
    """
    size = config.probe / 255 * math.sqrt(here[0].numel())
    steepest = torch.zeros_like(here)
    for probe in range(-1, config.probes):
        direction = prior
        if probe >= 0:
            noise = keyed_normal(call.keys[rows], here.shape[1:], 1_000_003 * (step + 1) + probe)
            direction = unit(noise - (noise * prior).sum((1, 2, 3), keepdim=True) * prior)
        which = (call.going_on(rows) & direction.flatten(1).any(1)).nonzero().flatten()
        if len(which):
            steepest[which] -= _slope(call, rows[which], here[which], margin[which], size * direction[which])
    return steepest


def _slope(call: QueryCall, rows: Tensor, here: Tensor, margin: Tensor, change: Tensor) -> Tensor:
    """Ask one probe of each row and return its derivative times its direction (n, C, H, W)."""
    tried = call.ball.at(rows).nearest(here + change)
    answers = call.ask(rows, tried)
    reached = answers.reached
    call.keep(rows[reached], tried[reached], answers.at(reached))
    moved = tried - here
    length = norm_of(moved, "l2").clamp_min(1e-12)
    slope = torch.nan_to_num((answers.margin - margin) / length, 0.0, 0.0, 0.0)
    return (slope / length).view(-1, 1, 1, 1) * moved


def _move(
    call: QueryCall, rows: Tensor, here: Tensor, margin: Tensor, downhill: Tensor, config: PriorGradientConfig
) -> tuple[Tensor, Tensor]:
    """Step downhill, with smaller steps where the margin does not fall; return the new images and margins."""
    direction = downhill.sign() if config.norm == "linf" else unit(downhill)
    open_rows = call.going_on(rows).nonzero().flatten()
    size = config.eps / config.steps
    for _ in range(_SHORTER):
        if not len(open_rows):
            break
        ball = call.ball.at(rows[open_rows])
        tried = ball.nearest(here[open_rows] + size * direction[open_rows])
        answers = call.ask(rows[open_rows], tried)
        call.compare(rows[open_rows], answers)
        better = answers.reached | (answers.margin < margin[open_rows])
        chosen = open_rows[better]
        here[chosen], margin[chosen] = tried[better], answers.margin[better]
        call.keep(rows[chosen], tried[better], answers.at(better))
        open_rows = open_rows[~better]
        open_rows = open_rows[call.going_on(rows[open_rows])]
        size /= 2
    return here, margin
