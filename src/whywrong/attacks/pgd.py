"""PGD: projected gradient ascent of a loss inside a ball around the image.

Source: Madry, Makelov, Schmidt, Tsipras and Vladu 2018, arXiv 1706.06083, section 2.1.
Differences: an image leaves the batch as soon as it is fooled, and the best iterate is kept instead of the last.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from whywrong.attacks.balls import Ball, BallNorm, check_ball
from whywrong.attacks.objectives import AttackLoss, check_loss
from whywrong.attacks.state import AttackResult, AttackState
from whywrong.core.errors import InputError
from whywrong.core.result import result_class
from whywrong.models.classifier import Classifier


@dataclass(frozen=True, slots=True, kw_only=True)
class PGDConfig:
    """Settings of :func:`pgd`, validated on construction.

    Attributes:
        norm: Norm of the ball, ``linf`` or ``l2``.
        eps: Radius of the ball in [0, 1] units, e.g. 8/255 in linf or 0.5 in l2.
        steps: Steps per start; at least 1.
        step_size: Length of a step in ``norm``, [0, 1] units; None is 2.5 * eps / steps.
        loss: Loss to maximise: ``ce`` (cross entropy), ``margin`` or ``dlr`` (needs 3 classes, 4 with targets).
        random_start: Start at a random point of the ball instead of at the image.
        restarts: Starts per image; more than 1 needs ``random_start``.
        stop_early: Stop an image once it is fooled; otherwise continue to the highest loss.
        seed: Seed of the starts, used if no keys are given.
    """

    norm: BallNorm = "linf"
    eps: float = 8 / 255
    steps: int = 20
    step_size: float | None = None
    loss: AttackLoss = "ce"
    random_start: bool = True
    restarts: int = 1
    stop_early: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        check_ball(self.norm, self.eps)
        check_loss(self.loss)
        for name in ("steps", "restarts"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.step_size is not None and not 0 < self.step_size <= 2 * self.eps:
            raise InputError(f"step_size must be in (0, 2 * eps], here (0, {2 * self.eps:g}], got {self.step_size}")
        if self.restarts > 1 and not self.random_start:
            raise InputError(f"restarts must be 1 without random_start, got {self.restarts}")


@result_class
class PGDResult(AttackResult):
    """Result of :func:`pgd`, see :class:`AttackResult`.

    An image that was not fooled is returned at its highest loss.
    """


def pgd(
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    *,
    targets: Tensor | None = None,
    keys: Tensor | None = None,
    config: PGDConfig | None = None,
) -> PGDResult:
    """Search a ball for a change that is misclassified or reaches its target.

    Args:
        classifier: Maps images (B, C, H, W) in [0, 1] to logits (B, K); must grant gradients.
        x: Images, (B, C, H, W), floating point, in [0, 1]; not modified.
        y: True classes, (B,), int64, in 0..K-1.
        targets: Target classes, (B,), int64; None for any class but ``y``.
        keys: Seed of each image's starts, (B,), int64; default derived from ``config.seed`` and the row index.
        config: Settings; None uses the defaults of :class:`PGDConfig`.

    Returns:
        Changed images, whether they fool, and the passes: one forward for the original image, a forward and a backward
        per step, and one forward for the last point of each start.

    Raises:
        InputError: A shape, type or class is invalid.
        AccessError: The classifier grants no gradients.
        NotDifferentiableError: No gradient reaches the pixels.
    """
    config = config or PGDConfig()
    with AttackState(classifier, x, y, targets=targets, keys=keys, seed=config.seed, loss=config.loss) as state:
        rows = state.begin()
        for start in range(config.restarts):
            _climb(state, rows, start, config)
            if config.stop_early:
                rows = rows[~state.found[rows]]
        return state.result(PGDResult)


def _climb(state: AttackState, rows: Tensor, start: int, config: PGDConfig) -> None:
    """Run the ascent from one start for the images of ``rows``."""
    ball = Ball(state.x[rows], config.eps, config.norm)
    size = 2.5 * config.eps / config.steps if config.step_size is None else config.step_size
    pixels = ball.random(state.keys[rows], draw=start) if config.random_start else ball.x
    for _ in range(config.steps):
        if not len(rows):
            return
        logits, loss, grad = state.ascend(rows, pixels)
        fooled = state.keep(rows, pixels, logits, loss)
        pixels = ball.clip(pixels + size * ball.ascent(grad))
        if config.stop_early:
            rows, ball, pixels = rows[~fooled], ball.at(~fooled), pixels[~fooled]
    if len(rows):
        logits = state.logits(rows, pixels)
        state.keep(rows, pixels, logits, state.loss(rows, logits))
