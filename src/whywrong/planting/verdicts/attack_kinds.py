"""Adversarial steps beyond the least ones: deep, from another network, and made to survive small changes."""

from __future__ import annotations

import torch
from torch import Tensor

from whywrong.attacks.apgd import APGDConfig, apgd
from whywrong.attacks.balls import Ball
from whywrong.attacks.objectives import attack_loss
from whywrong.attacks.pgd import PGDConfig, pgd
from whywrong.core.randomness import keyed_normal, keyed_uniform
from whywrong.data.corruptions.digital import jpeg_compression
from whywrong.models.classifier import Classifier
from whywrong.planting.batch import Candidate, PlantingBatch

RADII = (1, 2, 4, 8, 16)  # grey levels, by severity
_TRANSFER_RADII = (2, 4, 8, 12, 16)
_ADAPTIVE_RADII = (2, 4, 8, 12, 16)
_ADAPTIVE_STEPS = 24
_NOISE = 4 / 255  # standard deviation of the noise that an adaptive step is made to survive
_QUALITIES = (60, 75, 85)
_SURVIVES = 5  # of the 6 checks of an adaptive step


def deep(attack: str, batch: PlantingBatch, severity: int) -> Candidate:
    """Follow PGD or Auto-PGD to the last step, so that the change goes far beyond the boundary."""
    eps = RADII[severity - 1] / 255
    ask = (batch.classifier, batch.x, batch.y)
    if attack == "pgd":
        x = pgd(*ask, keys=batch.keys, config=PGDConfig(eps=eps, steps=10, stop_early=False)).x_adv
    else:
        x = apgd(*ask, keys=batch.keys, config=APGDConfig(eps=eps, steps=10, stop_early=False)).x_adv
    return Candidate(x, batch.y, f"{RADII[severity - 1]} grey levels, all steps", scene=batch.scene)


def transferred(surrogate: Classifier, batch: PlantingBatch, severity: int) -> Candidate:
    """Make the change on another network, without a look at this one."""
    eps = _TRANSFER_RADII[severity - 1] / 255
    config = PGDConfig(eps=eps, steps=10, loss="margin", stop_early=False)
    made = pgd(surrogate, batch.x, batch.y, keys=batch.keys, config=config)
    return Candidate(made.x_adv, batch.y, f"{_TRANSFER_RADII[severity - 1]} grey levels", scene=batch.scene)


def adaptive(batch: PlantingBatch, severity: int) -> Candidate:
    """Make a change that survives noise, JPEG and shifts (expectation over transformation).

    Sign steps on the mean margin over a noisy, a compressed and a shifted copy; the gradient passes through the
    compression unchanged. Images that fail the checks are returned unchanged.

    Source: Athalye, Engstrom, Ilyas and Kwok 2018, arXiv 1707.07397; Athalye, Carlini and Wagner 2018, arXiv
    1802.00420, section 4.1 (backward pass approximation).
    """
    radius = _ADAPTIVE_RADII[severity - 1]
    ball = Ball(batch.x, radius / 255, "linf")
    size = 2.5 * radius / 255 / _ADAPTIVE_STEPS
    pixels, y = batch.x.clone(), batch.y

    def objective(logits: Tensor, rows: slice) -> Tensor:
        return attack_loss("margin", logits, y[rows].to(logits.device, copy=True), targeted=False)

    for step in range(_ADAPTIVE_STEPS):
        slope = torch.zeros_like(pixels)
        for copy, back in _copies(pixels, batch.keys, step):
            _, _, grad = batch.classifier.gradient(copy, objective)
            grad = torch.nan_to_num(grad, 0.0, 0.0, 0.0)
            slope += torch.roll(grad, back, (2, 3)) / grad.abs().flatten(1).sum(1).clamp_min(1e-30)[:, None, None, None]
        pixels = ball.clip(pixels + size * slope.sign())
    pixels = (pixels * 255).round() / 255
    survives = _survives(batch, pixels)
    x = torch.where(survives[:, None, None, None], pixels, batch.x)
    return Candidate(x, batch.y, f"{radius} grey levels", scene=batch.scene)


def _copies(x: Tensor, keys: Tensor, step: int) -> list[tuple[Tensor, tuple[int, int]]]:
    """Return changed copies, each with the shift that undoes its own."""
    noisy = (x + _NOISE * keyed_normal(keys, x.shape[1:], 700 + step).to(x)).clamp(0, 1)
    draw = keyed_uniform(keys[:1], (2,), 800 + step)[0].tolist()
    reach = max(1, round(x.shape[-1] / 32))
    by = tuple(round((2 * value - 1) * reach) for value in draw)
    quality = _QUALITIES[step % len(_QUALITIES)]
    return [
        (noisy, (0, 0)),
        (jpeg_compression(x, keys, quality), (0, 0)),
        (torch.roll(x, by, (2, 3)), (-by[0], -by[1])),  # type: ignore[arg-type]
    ]


def _survives(batch: PlantingBatch, x: Tensor) -> Tensor:
    """Check which changes (B,) still fool under fresh noise, JPEG and shifts."""
    reach = max(1, round(x.shape[-1] / 32))
    tries = [
        (x + _NOISE / 2 * keyed_normal(batch.keys, x.shape[1:], 901).to(x)).clamp(0, 1),
        (x + _NOISE * keyed_normal(batch.keys, x.shape[1:], 902).to(x)).clamp(0, 1),
        jpeg_compression(x, batch.keys, 85),
        jpeg_compression(x, batch.keys, 60),
        torch.roll(x, reach, 3),
        torch.roll(x, -reach, 2),
    ]
    fooled = sum((batch.classifier.predict(one) != batch.y).long() for one in tries)
    assert isinstance(fooled, Tensor)
    return fooled >= _SURVIVES
