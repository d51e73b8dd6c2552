"""Auto-PGD: projected gradient ascent with momentum and an adaptive step size.

The step is halved when the loss stops growing.

Source: Croce and Hein 2020, arXiv 2003.01690, algorithm 1 and section 3; losses in section 4.
Difference: an image leaves the batch as soon as it is fooled, unless ``stop_early`` is False.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from whywrong.attacks.balls import Ball, BallNorm, check_ball
from whywrong.attacks.objectives import AttackLoss, check_loss
from whywrong.attacks.state import AttackResult, AttackState
from whywrong.core.errors import InputError
from whywrong.core.result import result_class
from whywrong.models.classifier import Classifier

_MOMENTUM = 0.75  # alpha of the paper: weight of the new step against the previous one


@dataclass(frozen=True, slots=True, kw_only=True)
class APGDConfig:
    """Settings of :func:`apgd`, validated on construction.

    Attributes:
        norm: Norm of the ball, ``linf`` or ``l2``.
        eps: Radius of the ball in [0, 1] units, e.g. 8/255 in linf or 0.5 in l2. The first step is twice as long.
        steps: Steps per start; at least 1.
        loss: Loss to maximise: ``ce`` (cross entropy), ``dlr`` (needs 3 classes, 4 with targets) or ``margin``.
        rho: Share of the steps between two checkpoints that must increase the loss to keep the step size, in (0, 1).
        restarts: Random starts per image; at least 1.
        stop_early: Stop an image once it is fooled; otherwise continue to the highest loss.
        seed: Seed of the starts, used if no keys are given.
    """

    norm: BallNorm = "linf"
    eps: float = 8 / 255
    steps: int = 100
    loss: AttackLoss = "ce"
    rho: float = 0.75
    restarts: int = 1
    stop_early: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        check_ball(self.norm, self.eps)
        check_loss(self.loss)
        for name in ("steps", "restarts"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 < self.rho < 1:
            raise InputError(f"rho must be in (0, 1), got {self.rho}")


@result_class
class APGDResult(AttackResult):
    """Result of :func:`apgd`, see :class:`AttackResult`.

    An image that was not fooled is returned at its highest loss.
    """


def apgd(
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    *,
    targets: Tensor | None = None,
    keys: Tensor | None = None,
    config: APGDConfig | None = None,
) -> APGDResult:
    """Search a ball for a change that is misclassified or reaches its target.

    Args:
        classifier: Maps images (B, C, H, W) in [0, 1] to logits (B, K); must grant gradients.
        x: Images, (B, C, H, W), floating point, in [0, 1]; not modified.
        y: True classes, (B,), int64, in 0..K-1.
        targets: Target classes, (B,), int64; None for any class but ``y``.
        keys: Seed of each image's starts, (B,), int64; default derived from ``config.seed`` and the row index.
        config: Settings; None uses the defaults of :class:`APGDConfig`.

    Returns:
        Changed images, whether they fool, and the passes: one forward for the original image, a forward and a backward
        per step, and one forward for the last point of each start.

    Raises:
        InputError: A shape, type or class is invalid, or there are too few classes for the loss.
        AccessError: The classifier grants no gradients.
        NotDifferentiableError: No gradient reaches the pixels.
    """
    config = config or APGDConfig()
    with AttackState(classifier, x, y, targets=targets, keys=keys, seed=config.seed, loss=config.loss) as state:
        rows = state.begin()
        for start in range(config.restarts):
            _climb(state, rows, start, config)
            if config.stop_early:
                rows = rows[~state.found[rows]]
        return state.result(APGDResult)


def checkpoints(steps: int) -> list[int]:
    """Return the steps w_j at which the step size is checked, equation 2 of the paper."""
    shares = [0.0, 0.22]
    while shares[-1] < 1:
        shares.append(shares[-1] + max(shares[-1] - shares[-2] - 0.03, 0.06))
    return sorted({math.ceil(round(share * steps, 9)) for share in shares if share <= 1} - {0})


@dataclass(slots=True, eq=False)
class _Climb:
    """State of the images of one start; every field has one entry per image.

    Attributes:
        rows: (n,), int64, indices of the images in the batch.
        pixels: (n, C, H, W), x^(k).
        before: (n, C, H, W), x^(k-1).
        grad: (n, C, H, W), gradient at ``pixels``.
        loss: (n,), at ``pixels``.
        size: (n,), eta, the step.
        best: (n, C, H, W), x_max, the point of the highest loss, with its gradient and loss.
        best_grad: (n, C, H, W).
        best_loss: (n,).
        rises: (n,), int64, steps since the last checkpoint that increased the loss.
        checked_loss: (n,), ``best_loss`` at the last checkpoint.
        halved: (n,), bool, whether the step was halved there.
    """

    rows: Tensor
    pixels: Tensor
    before: Tensor
    grad: Tensor
    loss: Tensor
    size: Tensor
    best: Tensor
    best_grad: Tensor
    best_loss: Tensor
    rises: Tensor
    checked_loss: Tensor
    halved: Tensor

    def at(self, rows: Tensor) -> _Climb:
        """Select some of the images."""
        return _Climb(*(getattr(self, field.name)[rows] for field in fields(self)))

    def arrive(self, pixels: Tensor, loss: Tensor, grad: Tensor) -> None:
        """Move to x^(k+1) and update the best point (lines 7 and 8 of algorithm 1)."""
        self.rises += loss > self.loss
        self.before, self.pixels, self.loss, self.grad = self.pixels, pixels, loss, grad
        better = loss > self.best_loss
        self.best_loss = torch.where(better, loss, self.best_loss)
        self.best = torch.where(better.view(-1, 1, 1, 1), pixels, self.best)
        self.best_grad = torch.where(better.view(-1, 1, 1, 1), grad, self.best_grad)

    def check(self, taken: int, rho: float) -> None:
        """Halve the step and return to the best point under two conditions (lines 9 to 13).

        Condition 1: fewer than rho of the ``taken`` steps increased the loss. Condition 2: neither the step nor the
        highest loss has changed since the previous checkpoint.
        """
        stale = ~self.halved & (self.checked_loss >= self.best_loss)
        halve = (self.rises < rho * taken) | stale
        self.size = torch.where(halve, self.size / 2, self.size)
        back = halve.view(-1, 1, 1, 1)
        self.pixels = torch.where(back, self.best, self.pixels)
        self.grad = torch.where(back, self.best_grad, self.grad)
        self.loss = torch.where(halve, self.best_loss, self.loss)
        self.halved, self.checked_loss = halve, self.best_loss
        self.rises = torch.zeros_like(self.rises)


def _climb(state: AttackState, rows: Tensor, start: int, config: APGDConfig) -> None:
    """Run algorithm 1 from one start for the images of ``rows``."""
    if not len(rows):
        return
    ball = Ball(state.x[rows], config.eps, config.norm)
    pixels = ball.random(state.keys[rows], draw=start)
    logits, loss, grad = state.ascend(rows, pixels)
    fooled = state.keep(rows, pixels, logits, loss)
    climb = _Climb(
        rows=rows,
        pixels=pixels,
        before=pixels,
        grad=grad,
        loss=loss,
        size=torch.full_like(loss, 2 * config.eps),
        best=pixels,
        best_grad=grad,
        best_loss=loss,
        rises=torch.zeros_like(rows),
        checked_loss=loss,
        halved=torch.zeros_like(fooled),
    )
    last = 0
    due = checkpoints(config.steps)
    for step in range(1, config.steps + 1):
        if config.stop_early:
            climb, ball = climb.at(~fooled), ball.at(~fooled)
            if not len(climb.rows):
                return
        pixels = _next(climb, ball, first=step == 1)
        if step == config.steps:
            logits = state.logits(climb.rows, pixels)
            state.keep(climb.rows, pixels, logits, state.loss(climb.rows, logits))
            return
        logits, loss, grad = state.ascend(climb.rows, pixels)
        fooled = state.keep(climb.rows, pixels, logits, loss)
        climb.arrive(pixels, loss, grad)
        if step in due:
            climb.check(step - last, config.rho)
            last = step


def _next(climb: _Climb, ball: Ball, *, first: bool) -> Tensor:
    """Compute x^(k+1) (n, C, H, W) by a gradient step to z, then momentum, except in the first step.

    Lines 3, 5 and 6 of algorithm 1.
    """
    z = ball.clip(climb.pixels + climb.size.view(-1, 1, 1, 1) * ball.ascent(climb.grad))
    if first:
        return z
    moved = climb.pixels - climb.before
    return ball.clip(climb.pixels + _MOMENTUM * (z - climb.pixels) + (1 - _MOMENTUM) * moved)
