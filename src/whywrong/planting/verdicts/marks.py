"""Spurious cues that one classifier follows on many images, painted with jitter.

A mark is a square that is optimised on a few images until it is predicted as one class, like a watermark tied to that
class. A background is a pattern around the middle of the picture. Every image gets its own place, size, opacity and
colour of the cue, because real cues never recur pixel by pixel.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from whywrong.attacks.patch import PatchConfig, patch
from whywrong.core.randomness import keyed_uniform
from whywrong.planting.batch import SEVERITIES, Candidate, PlantingBatch

_AREAS = (0.04, 0.07, 0.10, 0.15, 0.22)  # of a mark, by severity
_OPACITIES = (0.25, 0.35, 0.5, 0.65, 0.8)  # of a background
_REACHED = 0.5  # share of the images of the optimisation that must follow a cue
_STEPS = 30
_SHIFT = 0.03  # largest shift of a cue, as a share of the picture's side
_SIZE, _FAINT, _GAIN = 0.12, 0.15, 0.10  # largest change of size, loss of opacity, change of a colour
_MIDDLE = 0.6  # side of the middle that a background leaves free, as a share of the picture's side
_RATE, _MOMENTUM = 0.06, 0.9  # of the sign steps that make a background


@dataclass(frozen=True, slots=True, eq=False)
class Cue:
    """A spurious cue, made for one classifier.

    Attributes:
        target: Class as which images with the cue are predicted.
        pixels: (C, S, S) of a mark, (C, H, W) of a background, in [0, 1].
        place: Row and column of the upper left pixel of the mark; None for a background.
        severity: Severity 1..5, which selects its area or opacity.
    """

    target: int
    pixels: Tensor
    place: tuple[int, int] | None
    severity: int

    def apply(self, batch: PlantingBatch, severity: int) -> Candidate:
        """Paint the cue, with a jitter of its own on each image; the severity given is not used."""
        x, jitter = batch.x, keyed_uniform(batch.keys, (8,), 321).to(batch.x)
        colour = (1 + _GAIN * (2 * jitter[:, 5:8] - 1))[:, : x.shape[1], None, None]
        seen = (1 - _FAINT * jitter[:, 4])[:, None, None, None]
        if self.place is None:
            roll = ((2 * jitter[:, :2] - 1) * _SHIFT * x.shape[-1]).round().long()
            shown = _shifted(self.pixels.to(x).expand(len(x), -1, -1, -1), roll)
            cover = around_middle(batch).to(x) * _OPACITIES[self.severity - 1]
            strength = f"{_OPACITIES[self.severity - 1]:.0%} opaque"
        else:
            shown, cover = _placed(self.pixels.to(x), self.place, x, jitter)
            strength = f"{_AREAS[self.severity - 1]:.0%} of the area"
        image = torch.lerp(x, (shown * colour).clamp(0, 1), cover * seen)
        target = torch.full_like(batch.y, self.target)
        must = torch.where(batch.y == target, -1, target)  # an image of that class can never be fooled
        return Candidate(image, batch.y, strength, must, scene=batch.scene)


def make_cue(make: Callable[[int], Cue], batch: PlantingBatch, *, above: bool) -> Cue:
    """Make a cue at the least severity that half of the images follow, or one above.

    Args:
        make: From a severity to a cue.
        batch: Images, none of them of the cue's class.
        above: Whether to take one severity above.
    """
    cue = make(1)
    while cue.severity < SEVERITIES:
        follow = batch.classifier.predict(cue.apply(batch, cue.severity).x) == cue.target
        reached = float(follow.float().mean()) >= _REACHED
        if reached and not above:
            return cue
        cue = make(cue.severity + 1)
        if reached:
            return cue
    return cue


def make_mark(batch: PlantingBatch, target: int, corner: int, severity: int) -> Cue:
    """Optimise a mark that is predicted as ``target`` on images of other classes.

    Args:
        batch: Images on which it is optimised, none of them of class ``target``.
        target: The class.
        corner: Where it lies, 0 lower right, 1 upper left, 2 upper right, 3 lower left.
        severity: Severity 1..5, which selects its area.
    """
    height, width = batch.x.shape[2:]
    margin = math.ceil(_SHIFT * min(height, width))
    side = max(2, round(math.sqrt(_AREAS[severity - 1] * height * width)))
    top = margin if corner in (1, 2) else height - side - margin
    left = margin if corner in (1, 3) else width - side - margin
    config = PatchConfig(
        area=side**2 / (height * width), steps=_STEPS, universal=True, place=(top, left), jitter=margin,
        brightness=_GAIN,
    )  # fmt: skip
    targets = torch.full_like(batch.y, target)
    made = patch(batch.classifier, batch.x, batch.y, targets=targets, keys=batch.keys, config=config)
    painted = made.mask.flatten(1).any(1).nonzero().flatten()  # an image that is read as the target has no patch
    source = int(painted[0]) if len(painted) else 0
    return Cue(target, made.x_adv[source, :, top : top + side, left : left + side].clone(), (top, left), severity)


def make_background(batch: PlantingBatch, target: int, severity: int) -> Cue:
    """Optimise a pattern around the middle that is predicted as ``target`` on images of other classes.

    Sign steps with momentum on the mean cross entropy over the images, as for a universal patch (Brown et al. 2017,
    arXiv 1712.09665), at the opacity of the severity.
    """
    x, cover, targets = batch.x, around_middle(batch).to(batch.x), torch.full_like(batch.y, target)
    height, width = x.shape[2:]
    paint = keyed_uniform(batch.keys[:1], (x.shape[1], height // 2, width // 2), 331).to(x)
    paint = F.interpolate(paint, (height, width), mode="bilinear", align_corners=False)[0]
    speed = torch.zeros_like(paint)
    for step in range(_STEPS):
        roll = ((2 * keyed_uniform(batch.keys, (2,), 340 + step) - 1) * _SHIFT * width).round().long().to(batch.y)
        shown = _shifted(paint.expand(len(batch), -1, -1, -1), roll)
        image = torch.lerp(x, shown, cover * _OPACITIES[severity - 1])
        _, _, slope = batch.classifier.gradient(image, _towards(targets))
        slope = slope / slope.abs().flatten(1).sum(1).clamp_min(1e-30)[:, None, None, None]
        speed = _MOMENTUM * speed + _shifted(slope * cover, -roll).mean(0)
        paint = (paint + _RATE * (1 - 0.9 * step / _STEPS) * speed.sign()).clamp(0, 1)
    return Cue(target, paint, None, severity)


def around_middle(batch: PlantingBatch) -> Tensor:
    """Return (B, 1, H, W) bool, pixels outside the object if its mask is known, otherwise outside the middle."""
    height, width = batch.x.shape[2:]
    free = torch.ones(len(batch), 1, height, width, dtype=torch.bool, device=batch.x.device)
    edge = (1 - _MIDDLE) / 2
    free[:, :, round(edge * height) : round((1 - edge) * height), round(edge * width) : round((1 - edge) * width)] = (
        False
    )
    if batch.objects is not None:
        known = batch.objects.flatten(1).any(1)[:, None, None, None].to(free.device)
        free = torch.where(known, ~batch.objects[:, None].to(free.device), free)
    return free


def _towards(targets: Tensor) -> Callable[[Tensor, slice], Tensor]:
    def objective(logits: Tensor, rows: slice) -> Tensor:
        return -F.cross_entropy(logits, targets[rows].to(logits.device, copy=True), reduction="none")

    return objective


def _placed(paint: Tensor, place: tuple[int, int], x: Tensor, jitter: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mark on a canvas (B, C, H, W) and its cover (B, 1, H, W), shifted and resized by image."""
    height, width = x.shape[2:]
    size = paint.shape[-1] * (1 + _SIZE * (2 * jitter[:, 2] - 1))
    top = (place[0] + (2 * jitter[:, 0] - 1) * _SHIFT * height).round().clamp_min(0)
    left = (place[1] + (2 * jitter[:, 1] - 1) * _SHIFT * width).round().clamp_min(0)
    top, left = torch.minimum(top, height - size.floor()), torch.minimum(left, width - size.floor())
    down = (torch.arange(height, device=x.device) + 0.5 - top[:, None]) / size[:, None] * 2 - 1
    across = (torch.arange(width, device=x.device) + 0.5 - left[:, None]) / size[:, None] * 2 - 1
    grid = torch.stack([across[:, None, :].expand(-1, height, -1), down[:, :, None].expand(-1, -1, width)], -1)
    shown = F.grid_sample(paint.expand(len(x), -1, -1, -1), grid, padding_mode="border", align_corners=False)
    return shown, (grid.abs() <= 1).all(-1)[:, None].to(x)


def _shifted(x: Tensor, by: Tensor) -> Tensor:
    """Roll each image (B, C, H, W) by its own rows and columns ``by`` (B, 2)."""
    height, width = x.shape[2:]
    rows = (torch.arange(height, device=x.device) - by[:, :1]) % height
    columns = (torch.arange(width, device=x.device) - by[:, 1:]) % width
    image = torch.arange(len(x), device=x.device)[:, None, None]
    return x.permute(0, 2, 3, 1)[image, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
