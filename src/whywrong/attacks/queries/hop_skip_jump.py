"""HopSkipJump: shorten a change that reaches the goal by asking for labels alone.

Source: Chen, Jordan and Wainwright 2020, arXiv 1904.02144, algorithms 1 and 2.
Differences: images have whole grey levels, so that probes are at least a third of a grey level long on average and the
gradient is estimated from the changes that were really asked; without a start, patterns of growing contrast are tried;
the closest image ever asked is returned; and the first estimate takes 30 probes instead of 100.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from whywrong.attacks.balls import BallNorm, norm_of, unit
from whywrong.attacks.queries.answers import Answers
from whywrong.attacks.queries.call import QueryCall
from whywrong.attacks.queries.config import QueryConfig
from whywrong.attacks.queries.grid import on_grid
from whywrong.attacks.queries.memory import AnswerMemory
from whywrong.attacks.queries.patterns import pattern
from whywrong.attacks.queries.result import QueryResult
from whywrong.core.access import Access
from whywrong.core.errors import InputError
from whywrong.core.randomness import keyed_normal
from whywrong.core.result import result_class
from whywrong.models.classifier import Classifier

_CONTRASTS = (8, 16, 32, 64, 128)  # grey levels of the patterns that are tried as a start
_PER_CONTRAST = 4
_LEAST_PROBE = 0.35 / 255  # root mean square of a probe in [0, 1] units; smaller ones are rounded away
_BISECTIONS = 20
_HALVINGS = 12
_AT_ONCE = 1 << 24  # numbers in one batch of probes


@dataclass(frozen=True, slots=True, kw_only=True)
class HopSkipJumpConfig(QueryConfig):
    """Settings of :func:`hop_skip_jump`, in addition to those of :class:`QueryConfig`.

    Attributes:
        norm: Norm of the change to shorten, ``l2``.
        eps: Radius within which an image counts as found, in [0, 1] units.
        stop_early: Stop an image within ``eps``; otherwise shorten its change until the budget is used up.
        probes: Probes of the first estimate of a gradient; estimate t takes the square root of t times as many.
    """

    norm: BallNorm = "l2"
    eps: float = 1.0
    stop_early: bool = True
    probes: int = 30

    def __post_init__(self) -> None:
        QueryConfig.__post_init__(self)
        if self.norm != "l2":
            raise InputError(f"norm must be l2, which this attack shortens, got {self.norm!r}")
        if self.probes < 2:
            raise InputError(f"probes must be at least 2, got {self.probes}")


@result_class
class HopSkipJumpResult(QueryResult):
    """Result of :func:`hop_skip_jump`, see :class:`QueryResult`.

    ``image`` is the closest one that reaches the goal, also if it lies outside of the ball and is not ``found``.
    """


def hop_skip_jump(
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    *,
    keys: Tensor | None = None,
    start: Tensor | None = None,
    known: Tensor | None = None,
    memory: AnswerMemory | None = None,
    config: HopSkipJumpConfig | None = None,
) -> HopSkipJumpResult:
    """Find a close image of class ``y`` by walking along the decision boundary.

    Args:
        classifier: Maps images (B, C, H, W) in [0, 1] to scores or labels. Only labels are used.
        x: Images, (B, C, H, W), floating point, in [0, 1]; not modified.
        y: Classes, (B,), int64. With ``targeted``, the classes to reach; otherwise the classes to avoid.
        keys: Seed of each image's random numbers, (B,), int64; default derived from ``config.seed`` and the row index.
        start: Images (B, C, H, W) that reach the goal, such as correctly classified images of class ``y``. Where one
            does not, and by default, patterns of growing contrast are tried.
        known: Predicted classes (B,) of the unchanged images if already known; otherwise each image is queried once.
        memory: Earlier answers, which are reused; new answers are added to it.
        config: Settings; None uses the defaults of :class:`HopSkipJumpConfig`.

    Returns:
        The closest images that reach the goal, and the queries of each.

    Raises:
        InputError: A shape, type or class is invalid.
        EnvironmentFailure: The model changed during the attack.
    """
    config = config or HopSkipJumpConfig()
    call = QueryCall(
        classifier,
        x,
        y,
        keys=keys,
        config=config,
        access=Access.LABELS,
        method="hop_skip_jump",
        known=known if known is None or known.ndim == 1 else known.argmax(1),
        memory=memory,
    )
    with call:
        rows, _ = call.begin()
        walk = _Walk(call, config)
        rows = walk.start(rows, None if start is None else on_grid(start.to(call.x)))
        for step in range(1, config.queries + 2):
            rows = walk.going_on(rows)
            if not len(rows):
                break
            walk.step(rows, step)
        far = norm_of(walk.closest - call.ball.x, "l2") > config.eps * (1 + 1e-6)
        call.found &= ~far
        return call.result(HopSkipJumpResult)


class _Walk:
    """The closest image of each row that reaches the goal, and the moves that shorten its change."""

    def __init__(self, call: QueryCall, config: HopSkipJumpConfig) -> None:
        self.call, self.config = call, config
        self.closest = call.ball.x.clone()
        self.distance = call.ball.x.new_full((len(call.x),), torch.inf)

    def going_on(self, rows: Tensor) -> Tensor:
        """Return the rows that have budget and are not close enough."""
        close = self.distance[rows] <= self.config.eps if self.config.stop_early else torch.zeros_like(rows > 0)
        still = self.distance[rows] * 255 < 1.2  # a single grey level
        return rows[(self.call.left(rows) > 0) & ~close & ~still]

    def start(self, rows: Tensor, start: Tensor | None) -> Tensor:
        """Find a first image that reaches the goal for each row, and move it to the boundary."""
        if start is not None and len(rows):
            self.ask(rows, start[rows])
        levels = [contrast for contrast in _CONTRASTS for _ in range(_PER_CONTRAST)]
        for number, contrast in enumerate(levels):
            open_rows = rows[self.distance[rows].isinf() & (self.call.left(rows) > 0)]
            if not len(open_rows):
                break
            change = pattern(self.call.keys[open_rows], self.call.x.shape[1:], number)
            self.ask(open_rows, on_grid((self.call.ball.x[open_rows] + contrast / 255 * change).clamp(0, 1)))
        rows = rows[self.distance[rows].isfinite()]
        self.bisect(rows, self.closest[rows])
        return rows

    def ask(self, rows: Tensor, pixels: Tensor) -> Tensor:
        """Ask an image of each row, keep it if it reaches the goal and is the closest, and return if it reaches it."""
        answers = self.call.ask(rows, pixels)
        self._keep(rows, pixels, answers)
        return answers.reached

    def bisect(self, rows: Tensor, far: Tensor) -> None:
        """Move images ``far`` (n, C, H, W) that reach the goal toward the originals, as far as they still do."""
        low, high = self.call.x.new_zeros(len(rows)), self.call.x.new_ones(len(rows))
        for _ in range(_BISECTIONS):
            span = (high - low) * norm_of(far - self.call.ball.x[rows], "linf")
            going = (self.call.left(rows) > 0) & (span > 0.25 / 255)
            rows, far, low, high = rows[going], far[going], low[going], high[going]
            if not len(rows):
                return
            middle = (low + high) / 2
            original = self.call.ball.x[rows]
            reached = self.ask(rows, on_grid(original + middle.view(-1, 1, 1, 1) * (far - original)))
            low, high = middle.where(~reached, low), middle.where(reached, high)

    def step(self, rows: Tensor, step: int) -> None:
        """Estimate the gradient at the boundary, jump along it and return to the boundary (algorithm 2)."""
        here, distance = self.closest[rows], self.distance[rows]
        direction = self._gradient(rows, here, step)
        size = distance / math.sqrt(step)
        best_far, jumped = here.clone(), torch.zeros_like(rows > 0)
        trying = torch.arange(len(rows), device=rows.device)
        for _ in range(_HALVINGS):
            trying = trying[(self.call.left(rows[trying]) > 0) & (size[trying] * 255 > 0.25)]
            if not len(trying):
                break
            far = on_grid((here[trying] + size[trying].view(-1, 1, 1, 1) * direction[trying]).clamp(0, 1))
            reached = self.ask(rows[trying], far)
            best_far[trying[reached]], jumped[trying[reached]] = far[reached], True
            size[trying] /= 2
            trying = trying[~reached]
        self.bisect(rows[jumped], best_far[jumped])

    def _gradient(self, rows: Tensor, here: Tensor, step: int) -> Tensor:
        """Estimate the direction (n, C, H, W) into the goal from the labels of probes (equation 16)."""
        shape, numbers = here.shape[1:], here[0].numel()
        least = _LEAST_PROBE * math.sqrt(numbers)
        probes = math.ceil(self.config.probes * math.sqrt(step))
        size = (self.distance[rows] / numbers).clamp_min(least).view(-1, 1, 1, 1)
        weighted, plain = torch.zeros_like(here), torch.zeros_like(here)
        votes, asked = self.call.x.new_zeros(len(rows)), self.call.x.new_zeros(len(rows))
        at_once = max(1, _AT_ONCE // here.numel())
        for first in range(0, probes, at_once):
            draws = range(first, min(first + at_once, probes))
            offset = step * 100_003
            noise = torch.stack([unit(keyed_normal(self.call.keys[rows], shape, offset + draw)) for draw in draws], 1)
            pixels = on_grid((here[:, None] + size[:, None] * noise).clamp(0, 1))
            who = torch.arange(len(rows), device=rows.device).repeat_interleave(len(draws))
            flat = pixels.flatten(0, 1)
            answers = self.call.ask(rows[who], flat, claim=False)
            usable = answers.label >= 0
            sign = torch.where(answers.reached, 1.0, -1.0) * usable
            change = (flat - here[who]) * usable.view(-1, 1, 1, 1)
            weighted.index_add_(0, who, change * sign.view(-1, 1, 1, 1))
            plain.index_add_(0, who, change)
            votes.index_add_(0, who, sign)
            asked.index_add_(0, who, usable.to(sign))
            self._keep_best(rows, who, flat, answers)
        mean = votes / asked.clamp_min(1)
        one_sided = mean.abs() == 1
        found = torch.where(
            one_sided.view(-1, 1, 1, 1), weighted, weighted - mean.view(-1, 1, 1, 1) * plain
        )  # the mean vote is a control variate, unless all votes agree
        return unit(found)

    def _keep_best(self, rows: Tensor, who: Tensor, pixels: Tensor, answers: Answers) -> None:
        """Keep the closest probe of each row that reaches the goal."""
        distance = norm_of(pixels - self.call.ball.x[rows[who]], "l2").where(answers.reached, torch.inf)
        least = distance.new_full((len(rows),), torch.inf).scatter_reduce_(0, who, distance, "amin")
        places = torch.arange(len(who), device=rows.device)
        first = places.where((distance == least[who]) & distance.isfinite(), len(who))
        chosen = torch.full_like(rows, len(who)).scatter_reduce_(0, who, first, "amin")
        there = chosen < len(who)
        if self.config.confirm or not bool(there.any()):
            return  # probes are not confirmed
        self._keep(rows[there], pixels[chosen[there]], answers.at(chosen[there]))

    def _keep(self, rows: Tensor, pixels: Tensor, answers: Answers) -> None:
        distance = norm_of(pixels - self.call.ball.x[rows], "l2")
        closer = answers.reached & (distance < self.distance[rows])
        self.distance[rows[closer]], self.closest[rows[closer]] = distance[closer], pixels[closer]
        self.call.keep(rows[closer], pixels[closer], answers.at(closer))
