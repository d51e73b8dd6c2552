"""Deliberate changes: standard attacks against the classifier itself, and a painted cue that it never learnt."""

from __future__ import annotations

import math
from functools import partial

import torch

from whywrong.attacks.apgd import APGDConfig, apgd
from whywrong.attacks.ddn import DDNConfig, ddn
from whywrong.attacks.patch import PatchConfig, patch
from whywrong.attacks.pgd import PGDConfig, pgd
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

    It stands in for a spurious cue on a classifier that never learnt one: the same mark in the same corner, as a
    watermark is, tied to one class, on images of other classes.
    """
    near = subjects.logits[:, subjects.classes].mean(0).argmax()  # the class that these images come nearest to
    target = subjects.classes[near].expand_as(subjects.y)
    open_to = (subjects.y != target).nonzero().flatten()
    must = torch.where(subjects.y != target, target, subjects.y)  # an image of that class can never be fooled
    strength = f"{_SHARED_AREAS[level - 1]:.0%} of the area"
    if not len(open_to):
        return Proposal(subjects.x, subjects.y, strength, must, scene=subjects.scene)
    some = subjects.at(open_to[:_MAKERS])
    height, width = subjects.x.shape[2:]
    side = min(height, width, round(math.sqrt(_SHARED_AREAS[level - 1] * height * width)))
    config = PatchConfig(
        area=_SHARED_AREAS[level - 1], steps=_STEPS, universal=True, place=(height - side, width - side)
    )
    made = patch(some.classifier, some.x, some.y, targets=target[open_to[:_MAKERS]], keys=some.keys, config=config)
    x = subjects.x.clone()
    x[:, :, height - side :, width - side :] = made.x_adv[0, :, height - side :, width - side :]
    return Proposal(x, subjects.y, strength, must, scene=subjects.scene)


assert len(_RADII) == len(_AREAS) == len(_SHARED_AREAS) == LEVELS

KINDS = (
    Kind("adversarial", "pgd", partial(in_ball, "pgd"), gradients=True),
    Kind("adversarial", "apgd", partial(in_ball, "apgd"), gradients=True),
    Kind("adversarial", "ddn", nearest, gradients=True),
    Kind("adversarial", "patch", own_patch, gradients=True),
    Kind("spurious", "shared-patch", shared_patch, gradients=True, chunk=240),
)
