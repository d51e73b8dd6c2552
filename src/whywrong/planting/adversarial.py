"""Deliberate changes: standard attacks against the classifier itself, and a painted cue that it never learnt."""

from __future__ import annotations

import math
from functools import partial

import torch

from whywrong.attacks.apgd import APGDConfig, apgd
from whywrong.attacks.ddn import DDNConfig, ddn
from whywrong.attacks.patch import PatchConfig, patch
from whywrong.attacks.pgd import PGDConfig, pgd
from whywrong.planting.batch import SEVERITIES, Candidate, Perturbation, PlantingBatch

_RADII = (1, 2, 4, 8, 16)  # grey levels
_AREAS = (0.03, 0.05, 0.08, 0.12, 0.18)
_SHARED_AREAS = (0.05, 0.08, 0.12, 0.18, 0.25)
_STEPS = 50
_MAKERS = 16  # images on which a shared square is made


def in_ball(attack: str, batch: PlantingBatch, severity: int) -> Candidate:
    """PGD or Auto-PGD in the linf ball of 1, 2, 4, 8 or 16 grey levels."""
    eps = _RADII[severity - 1] / 255
    ask = (batch.classifier, batch.x, batch.y)
    if attack == "pgd":
        result = pgd(*ask, keys=batch.keys, config=PGDConfig(eps=eps, steps=20))
    else:
        result = apgd(*ask, keys=batch.keys, config=APGDConfig(eps=eps, steps=20))
    return Candidate(result.x_adv, batch.y, f"{_RADII[severity - 1]} grey levels", scene=batch.scene)


def nearest(batch: PlantingBatch, severity: int) -> Candidate:
    """The smallest l2 change that DDN finds among whole grey levels, with ever more steps."""
    result = ddn(batch.classifier, batch.x, batch.y, keys=batch.keys, config=DDNConfig(steps=20 * severity, levels=256))
    return Candidate(result.x_adv, batch.y, "smallest l2", scene=batch.scene)


def own_patch(batch: PlantingBatch, severity: int) -> Candidate:
    """A painted square, made for each image."""
    config = PatchConfig(area=_AREAS[severity - 1], steps=_STEPS)
    result = patch(batch.classifier, batch.x, batch.y, keys=batch.keys, config=config)
    return Candidate(result.x_adv, batch.y, f"{_AREAS[severity - 1]:.0%} of the area", scene=batch.scene)


def shared_patch(batch: PlantingBatch, severity: int) -> Candidate:
    """One painted square, made on a few images, which the classifier reads as one class on others too.

    It stands in for a spurious cue on a classifier that never learnt one: the same mark in the same corner, as a
    watermark is, tied to one class, on images of other classes.
    """
    near = batch.logits[:, batch.classes].mean(0).argmax()  # the class that these images come nearest to
    target = batch.classes[near].expand_as(batch.y)
    open_to = (batch.y != target).nonzero().flatten()
    must = torch.where(batch.y != target, target, batch.y)  # an image of that class can never be fooled
    strength = f"{_SHARED_AREAS[severity - 1]:.0%} of the area"
    if not len(open_to):
        return Candidate(batch.x, batch.y, strength, must, scene=batch.scene)
    some = batch.at(open_to[:_MAKERS])
    height, width = batch.x.shape[2:]
    side = min(height, width, round(math.sqrt(_SHARED_AREAS[severity - 1] * height * width)))
    config = PatchConfig(
        area=_SHARED_AREAS[severity - 1], steps=_STEPS, universal=True, place=(height - side, width - side)
    )
    made = patch(some.classifier, some.x, some.y, targets=target[open_to[:_MAKERS]], keys=some.keys, config=config)
    x = batch.x.clone()
    x[:, :, height - side :, width - side :] = made.x_adv[0, :, height - side :, width - side :]
    return Candidate(x, batch.y, strength, must, scene=batch.scene)


assert len(_RADII) == len(_AREAS) == len(_SHARED_AREAS) == SEVERITIES

PERTURBATIONS = (
    Perturbation("adversarial", "pgd", partial(in_ball, "pgd"), gradients=True),
    Perturbation("adversarial", "apgd", partial(in_ball, "apgd"), gradients=True),
    Perturbation("adversarial", "ddn", nearest, gradients=True),
    Perturbation("adversarial", "patch", own_patch, gradients=True),
    Perturbation("spurious", "shared-patch", shared_patch, gradients=True, chunk=240),
)
