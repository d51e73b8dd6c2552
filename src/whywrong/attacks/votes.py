"""Vote attack: attack the votes of a capsule network in place of its routed output.

The gradient comes from a view of the network in which the votes are averaged, not routed. The image is then tested on
the network as it is.

Source: Gu, Wu and Tresp 2021, arXiv 2102.10055. The views other than ``votes`` are controls of ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from whywrong.attacks.balls import Ball, BallNorm, check_ball
from whywrong.attacks.objectives import AttackLoss, attack_loss, check_loss
from whywrong.attacks.state import AttackResult, AttackState
from whywrong.core.access import Access
from whywrong.core.errors import AccessError, InputError
from whywrong.core.result import result_class
from whywrong.models.architectures.base import CapsuleNet
from whywrong.models.classifier import Classifier

VoteView = Literal["votes", "uniform", "scaled", "routed"]
# Whether votes are routed, and whether their sum is turned into a mean: two changes, apart and together.
VIEWS: dict[str, tuple[bool, bool]] = {
    "votes": (False, True),
    "uniform": (False, False),
    "scaled": (True, True),
    "routed": (True, False),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteAttackConfig:
    """Settings of :func:`vote_attack`, validated on construction.

    Attributes:
        view: What is attacked: ``votes``, the mean of all votes (the vote attack); ``uniform``, their sum without
            routing; ``scaled``, routed votes with the mean in place of the sum; ``routed``, the output itself (the caps
            attack). The last three are controls with equal steps.
        norm: Norm of the ball, ``linf`` or ``l2``.
        eps: Radius of the ball in [0, 1] units.
        steps: Steps of projected gradient ascent; at least 1.
        step_size: Length of a step in ``norm``; None is 2.5 * eps / steps.
        loss: Loss to maximise: ``ce`` (the published one: minus the logarithm of the share of the class), ``margin`` or
            ``dlr``.
        random_start: Start at a random point of the ball.
        seed: Seed of the starts, used if no keys are given.
    """

    view: VoteView = "votes"
    norm: BallNorm = "linf"
    eps: float = 8 / 255
    steps: int = 20
    step_size: float | None = None
    loss: AttackLoss = "ce"
    random_start: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        check_ball(self.norm, self.eps)
        check_loss(self.loss)
        if self.view not in VIEWS:
            raise InputError(f"view must be one of {', '.join(VIEWS)}, got {self.view!r}")
        if self.steps < 1:
            raise InputError(f"steps must be at least 1, got {self.steps}")
        if self.step_size is not None and not 0 < self.step_size <= 2 * self.eps:
            raise InputError(f"step_size must be in (0, 2 * eps], here (0, {2 * self.eps:g}], got {self.step_size}")


@result_class
class VoteAttackResult(AttackResult):
    """Result of :func:`vote_attack`, see :class:`AttackResult`.

    Scores and success are those of the network as it is, whatever view was attacked.
    """


def vote_attack(
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    *,
    keys: Tensor | None = None,
    config: VoteAttackConfig | None = None,
) -> VoteAttackResult:
    """Search a ball for a change that fools a capsule network, through its votes.

    Args:
        classifier: A capsule network that makes votes for each class; grants internals.
        x: Images, (B, C, H, W), floating point, in [0, 1]; not modified.
        y: True classes, (B,), int64.
        keys: Seed of each image's start, (B,), int64; default derived from ``config.seed`` and the row index.
        config: Settings; None uses the defaults of :class:`VoteAttackConfig`.

    Returns:
        Changed images, whether they fool the network as it is, and the passes: one forward for the original image, a
        forward and a backward of the view per step, and one forward for the changed image.

    Raises:
        InputError: A shape, type or class is invalid, or the model is no capsule network with votes.
        AccessError: The classifier grants no internals.
    """
    config = config or VoteAttackConfig()
    view = vote_view(classifier, config.view)
    size = 2.5 * config.eps / config.steps if config.step_size is None else config.step_size
    with view, AttackState(classifier, x, y, targets=None, keys=keys, seed=config.seed, loss=config.loss) as state:
        rows = state.begin()
        ball = Ball(state.x[rows], config.eps, config.norm)
        pixels = ball.random(state.keys[rows], draw=0) if config.random_start else ball.x
        classes = y.to(x.device)[rows]

        def objective(logits: Tensor, part: slice) -> Tensor:
            chosen = classes[part].to(logits.device, copy=True)  # no inference tensor may enter the graph
            return attack_loss(config.loss, logits, chosen, targeted=False)

        for _ in range(config.steps if len(rows) else 0):
            _, _, grad = view.gradient(pixels, objective)
            state.count(rows, forwards=1, backwards=1)
            pixels = ball.clip(pixels + size * ball.ascent(torch.nan_to_num(grad, 0.0, 0.0, 0.0)))
        if len(rows):
            state.put(rows, pixels, state.logits(rows, pixels))
        return state.result(VoteAttackResult)


def vote_view(classifier: Classifier, view: VoteView = "votes") -> Classifier:
    """Build a classifier with the same weights that combines votes otherwise.

    Args:
        classifier: A capsule network that makes votes for each class; grants internals.
        view: As for :class:`VoteAttackConfig`.

    Raises:
        AccessError: The classifier grants no internals.
        InputError: The model is no capsule network with votes.
    """
    if classifier.access < Access.INTERNALS:
        raise AccessError(f"votes need access to INTERNALS, this classifier grants {classifier.access.name}")
    net = classifier.module
    if not isinstance(net, CapsuleNet) or type(net).view is CapsuleNet.view:
        name = net.plan.family if isinstance(net, CapsuleNet) else type(classifier.model).__name__
        raise InputError(
            f"{name} makes no votes for each class: give a capsnet, affcapsnet or convnet that `whywrong train` wrote"
        )
    routed, scaled = VIEWS[view]
    return Classifier(
        _View(net, routed=routed, scaled=scaled),
        classes=classifier.classes,
        preprocess=classifier.preprocess,
        device=classifier.device,
        precision=classifier.precision,
        batch_size=classifier.batch_size,
    )


class _View(nn.Module):
    """A capsule network with another way to combine votes."""

    def __init__(self, net: CapsuleNet, *, routed: bool, scaled: bool) -> None:
        super().__init__()
        self.net, self.routed, self.scaled = net, routed, scaled

    def forward(self, x: Tensor) -> Tensor:
        return self.net.view(x, routed=self.routed, scaled=self.scaled)
