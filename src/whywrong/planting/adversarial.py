"""Adversarial attacks on the classifier, and an artificial spurious cue made by an attack."""

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
_MAKERS = 16  # images on which a shared square is optimised


def in_ball(attack: str, batch: PlantingBatch, severity: int) -> Candidate:
    """Apply PGD or Auto-PGD in the linf ball of 1, 2, 4, 8 or 16 grey levels."""
    eps = _RADII[severity - 1] / 255
    ask = (batch.classifier, batch.x, batch.y)
    if attack == "pgd":
        result = pgd(*ask, keys=batch.keys, config=PGDConfig(eps=eps, steps=20))
    else:
        result = apgd(*ask, keys=batch.keys, config=APGDConfig(eps=eps, steps=20))
    return Candidate(result.x_adv, batch.y, f"{_RADII[severity - 1]} grey levels", scene=batch.scene)


def nearest(batch: PlantingBatch, severity: int) -> Candidate:
    """Apply the smallest l2 change that DDN finds among whole grey levels.

    A higher severity allows more steps.
    """
    result = ddn(batch.classifier, batch.x, batch.y, keys=batch.keys, config=DDNConfig(steps=20 * severity, levels=256))
    return Candidate(result.x_adv, batch.y, "smallest l2", scene=batch.scene)


def own_patch(batch: PlantingBatch, severity: int) -> Candidate:
    """Paint a square optimised for each image."""
    config = PatchConfig(area=_AREAS[severity - 1], steps=_STEPS)
    result = patch(batch.classifier, batch.x, batch.y, keys=batch.keys, config=config)
    return Candidate(result.x_adv, batch.y, f"{_AREAS[severity - 1]:.0%} of the area", scene=batch.scene)


def shared_patch(batch: PlantingBatch, severity: int) -> Candidate:
    """Paint one shared square that is predicted as one class on every image.

    It is optimised on a few images. It imitates a spurious cue for a classifier that has not learnt one: the same mark
    in the same corner, like a watermark, tied to one class, on images of other classes.
    """
    near = batch.logits[:, batch.classes].mean(0).argmax()  # the class with the highest mean logit on these images
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
