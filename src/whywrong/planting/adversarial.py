"""Deliberate changes: standard attacks against the classifier itself, and a painted cue that it never learnt."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from whywrong.attacks.apgd import APGDConfig, apgd
from whywrong.attacks.ddn import DDNConfig, ddn
from whywrong.attacks.patch import PatchConfig, patch
from whywrong.attacks.pgd import PGDConfig, pgd
from whywrong.core.randomness import keyed_uniform
from whywrong.planting.subjects import LEVELS, Kind, Proposal, Subjects

_RADII = (1, 2, 4, 8, 16)  # grey levels
_AREAS = (0.03, 0.05, 0.08, 0.12, 0.18)
_SHARED_AREAS = (0.05, 0.08, 0.12, 0.18, 0.25)
_STEPS = 50
_MAKERS = 16  # images on which a shared square is made


def in_ball(attack: str, subjects: Subjects, level: int) -> Proposal:
    """PGD or Auto-PGD in the linf ball of 1, 2, 4, 8 or 16 grey levels."""
    eps = _RADII[level - 1] / 255
    ask = (subjects.classifier, subjects.x, subjects.y)
    if attack == "pgd":
        result = pgd(*ask, keys=subjects.keys, config=PGDConfig(eps=eps, steps=20))
    else:
        result = apgd(*ask, keys=subjects.keys, config=APGDConfig(eps=eps, steps=20))
    return Proposal(result.x_adv, subjects.y, f"{_RADII[level - 1]} grey levels", scene=subjects.scene)


def nearest(subjects: Subjects, level: int) -> Proposal:
    """The smallest l2 change that DDN finds among whole grey levels, with ever more steps."""
    result = ddn(
        subjects.classifier, subjects.x, subjects.y, keys=subjects.keys, config=DDNConfig(steps=20 * level, levels=256)
    )
    return Proposal(result.x_adv, subjects.y, "smallest l2", scene=subjects.scene)


def own_patch(subjects: Subjects, level: int) -> Proposal:
    """A painted square, made for each image."""
    config = PatchConfig(area=_AREAS[level - 1], steps=_STEPS)
    result = patch(subjects.classifier, subjects.x, subjects.y, keys=subjects.keys, config=config)
    return Proposal(result.x_adv, subjects.y, f"{_AREAS[level - 1]:.0%} of the area", scene=subjects.scene)


def shared_patch(subjects: Subjects, level: int) -> Proposal:
    """One painted square, made on a few images, which the classifier reads as one class on others too.

    It stands in for a spurious cue on a classifier that never learnt one: the same mark, tied to one class, on images
    of other classes.
    """
    near = subjects.logits[:, subjects.classes].mean(0).argmax()  # the class that these images come nearest to
    target = subjects.classes[near].expand_as(subjects.y)
    open_to = (subjects.y != target).nonzero().flatten()
    must = torch.where(subjects.y != target, target, subjects.y)  # an image of that class can never be fooled
    strength = f"{_SHARED_AREAS[level - 1]:.0%} of the area"
    if not len(open_to):
        return Proposal(subjects.x, subjects.y, strength, must, scene=subjects.scene)
    some = subjects.at(open_to[:_MAKERS])
    config = PatchConfig(area=_SHARED_AREAS[level - 1], steps=_STEPS, universal=True)
    made = patch(some.classifier, some.x, some.y, targets=target[open_to[:_MAKERS]], keys=some.keys, config=config)
    side, (top, left) = int(made.side[0]), made.place[0].tolist()
    square = made.x_adv[0, :, top : top + side, left : left + side]
    return Proposal(_paste(subjects, square), subjects.y, strength, must, scene=subjects.scene)


def _paste(subjects: Subjects, square: Tensor) -> Tensor:
    """The images (B, C, H, W) with ``square`` (C, s, s) somewhere on each."""
    x = subjects.x.clone()
    (batch, channels, height, width), side = x.shape, square.shape[-1]
    r = keyed_uniform(subjects.keys, (2,), 322)
    span = torch.arange(side)
    rows = (r[:, 0] * (height - side + 1)).long()[:, None] + span  # (B, s)
    columns = (r[:, 1] * (width - side + 1)).long()[:, None] + span
    image, channel = torch.arange(batch)[:, None, None, None], torch.arange(channels)[None, :, None, None]
    x[image, channel, rows[:, None, :, None], columns[:, None, None, :]] = square
    return x


assert len(_RADII) == len(_AREAS) == len(_SHARED_AREAS) == LEVELS

KINDS = (
    Kind("adversarial", "pgd", partial(in_ball, "pgd"), gradients=True),
    Kind("adversarial", "apgd", partial(in_ball, "apgd"), gradients=True),
    Kind("adversarial", "ddn", nearest, gradients=True),
    Kind("adversarial", "patch", own_patch, gradients=True),
    Kind("spurious", "shared-patch", shared_patch, gradients=True, chunk=240),
)
