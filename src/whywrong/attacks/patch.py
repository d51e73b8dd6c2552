"""Adversarial patch: a visible square that causes a misclassification.

Source: Brown, Mane, Roy, Abadi and Gilmer 2017, arXiv 1712.09665; the pixels follow momentum sign steps, Dong et al.
2018, arXiv 1710.06081, algorithm 1. By default each image has its own patch; a universal one is made for a batch.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from whywrong.attacks.objectives import AttackLoss, check_loss
from whywrong.attacks.state import AttackResult, AttackState
from whywrong.core.errors import InputError
from whywrong.core.randomness import keyed_uniform
from whywrong.core.result import column, computed, result_class
from whywrong.models.classifier import Classifier

_LAST_STEP = 0.1  # final step size as a share of the first; it falls along a half cosine
_DRAWS = 2  # random draws of a start before those of its steps: place and first pixels
_STEP_DRAWS = 2  # random draws of a step: shift and brightness


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchConfig:
    """Settings of :func:`patch`, validated on construction.

    Attributes:
        area: Share of the image's area that the square covers, in (0, 1]; its side is rounded to whole pixels.
        steps: Steps per start; at least 1.
        step_size: First step of a pixel, [0, 1] units; falls to a tenth of it.
        momentum: Weight of the previous direction, in [0, 1).
        loss: Loss to maximise: ``ce`` (cross entropy), ``margin`` or ``dlr`` (needs 3 classes, 4 with targets).
        place: Row and column of the square's upper left pixel; None draws them for each image.
        jitter: Largest random shift of the square per step, in pixels, so that the patch works away from its place too;
            0 for none. The result is not shifted.
        brightness: Largest random change of the square's brightness per step, as a share of its values, in [0, 1).
        universal: One patch for all images of the call instead of one each. It depends on the whole batch.
        restarts: Starts, each with new pixels and, if drawn, a new place; at least 1.
        stop_early: Stop an image once it is fooled; a universal patch once it fools all. With jitter or brightness,
            images are tested only after each start.
        seed: Seed of places, pixels and jitter, used if no keys are given.
    """

    area: float = 0.05
    steps: int = 100
    step_size: float = 0.1
    momentum: float = 0.9
    loss: AttackLoss = "ce"
    place: tuple[int, int] | None = None
    jitter: int = 0
    brightness: float = 0.0
    universal: bool = False
    restarts: int = 1
    stop_early: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        check_loss(self.loss)
        for name in ("area", "step_size"):
            if not 0 < getattr(self, name) <= 1:
                raise InputError(f"{name} must be in (0, 1], got {getattr(self, name)}")
        for name in ("momentum", "brightness"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name} must be in [0, 1), got {getattr(self, name)}")
        for name, least in (("steps", 1), ("restarts", 1), ("jitter", 0)):
            if getattr(self, name) < least:
                raise InputError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.place is not None and (len(self.place) != 2 or min(self.place) < 0):
            raise InputError(f"place must be a row and a column, at least 0 each, got {self.place}")

    @property
    def varied(self) -> bool:
        """Whether steps shift or brighten the patch, unlike the result."""
        return self.jitter > 0 or self.brightness > 0


@result_class
class PatchResult(AttackResult):
    """Result of :func:`patch`, see :class:`AttackResult`.

    An image that was not fooled is returned with its best patch. ``mask`` (B, H, W) bool is the area of the patch, all
    False in rows without one; ``place`` (B, 2) int64 row and column of its upper left pixel, -1 in rows without one.
    """

    side: Tensor = column("int64", "Pixels a side of the patch; 0 without one.")
    mask: Tensor
    place: Tensor

    @computed("int64")
    def top(self) -> Tensor:
        """Row of its upper left pixel; -1 without one."""
        return self.place[:, 0]

    @computed("int64")
    def left(self) -> Tensor:
        """Column of its upper left pixel; -1 without one."""
        return self.place[:, 1]

    def maps(self) -> Mapping[str, Tensor]:
        """Return ``x_adv`` (B, C, H, W) and ``mask`` (B, H, W), 1 on the patch."""
        return {"x_adv": self.x_adv, "mask": self.mask.float()}


def patch(
    classifier: Classifier,
    x: Tensor,
    y: Tensor,
    *,
    targets: Tensor | None = None,
    keys: Tensor | None = None,
    config: PatchConfig | None = None,
) -> PatchResult:
    """Paint a square with which an image is misclassified or reaches its target.

    Args:
        classifier: Maps images (B, C, H, W) in [0, 1] to logits (B, K); must grant gradients.
        x: Images, (B, C, H, W), floating point, in [0, 1]; not modified.
        y: True classes, (B,), int64, in 0..K-1.
        targets: Target classes, (B,), int64; None for any class but ``y``.
        keys: Seed of each image's place, pixels and jitter, (B,), int64; default derived from ``config.seed`` and the
            row index. The first pixels of a universal patch come from the first attacked image.
        config: Settings; None uses the defaults of :class:`PatchConfig`.

    Returns:
        Changed images with the mask of the patch, whether they fool, and the passes: one forward for the original
        image, a forward and a backward per step, and one forward for the last patch of each start.

    Raises:
        InputError: A shape, type or class is invalid, or the square does not fit at its place.
        AccessError: The classifier grants no gradients.
        NotDifferentiableError: No gradient reaches the pixels.
    """
    config = config or PatchConfig()
    with AttackState(classifier, x, y, targets=targets, keys=keys, seed=config.seed, loss=config.loss) as state:
        side = _side(state.x.shape[2], state.x.shape[3], config)
        rows = state.begin()
        place = torch.full((len(x), 2), -1, dtype=torch.int64, device=x.device)
        score = _Score(state, place)
        for start in range(config.restarts):
            if len(rows):
                _paint(state, score, rows, side, start, config)
            left = ~state.found[rows]
            if config.stop_early:
                rows = rows[left] if not config.universal else rows[left.any().expand_as(left)]
        attacked = place[:, 0] >= 0
        return state.result(
            PatchResult,
            mask=_mask(place, side, state.x) & attacked.view(-1, 1, 1),
            place=place,
            side=torch.where(attacked, side, 0),
        )


class _Score:
    """The best patch of each group so far, by images fooled, then by mean loss.

    A group is the images that share a patch: one image each, or all of them.
    """

    def __init__(self, state: AttackState, place: Tensor) -> None:
        self._state, self._place = state, place
        self._fooled = torch.full_like(place[:, 0], -1.0, dtype=torch.float32)  # of each row's group
        self._loss = torch.full_like(self._fooled, -torch.inf)

    def keep(self, rows: Tensor, group: Tensor, place: Tensor, pixels: Tensor, logits: Tensor, loss: Tensor) -> Tensor:
        """Keep better patches.

        Args:
            rows: (n,), int64, indices of the images in the batch.
            group: (n,), group of each, 0..G-1.
            place: (n, 2).
            pixels: (n, C, H, W), the images with their patches.
            logits: (n, K), of them.
            loss: (n,), of them.

        Returns:
            (n,) bool, rows of groups whose images are all fooled.
        """
        reached = self._state.reached(rows, logits)
        fooled, loss = _mean(reached.float(), group), _mean(loss, group)
        best_fooled, best_loss = _mean(self._fooled[rows], group), _mean(self._loss[rows], group)
        better = ((fooled > best_fooled) | ((fooled == best_fooled) & (loss > best_loss)))[group]
        chosen = rows[better]
        self._fooled[chosen], self._loss[chosen] = fooled[group][better], loss[group][better]
        self._place[chosen] = place[better]
        self._state.put(chosen, pixels[better], logits[better])
        return (fooled == 1)[group]


def _paint(state: AttackState, score: _Score, rows: Tensor, side: int, start: int, config: PatchConfig) -> None:
    """Optimise the patches of ``rows`` from one start."""
    x, keys = state.x[rows], state.keys[rows]
    first_draw = start * (_DRAWS + _STEP_DRAWS * config.steps)
    place = _places(keys, side, x, first_draw, config)
    group = torch.zeros_like(rows) if config.universal else torch.arange(len(rows), device=rows.device)
    seeds = keys[:1] if config.universal else keys
    paint = keyed_uniform(seeds, (x.shape[1], side, side), first_draw + 1)  # (G, C, side, side)
    speed = torch.zeros_like(paint)
    for step in range(config.steps):
        draw = first_draw + _DRAWS + _STEP_DRAWS * step
        seen, light = _vary(keys, place, side, x, draw, config)
        pixels = _put(x, paint[group] * light, seen)
        logits, loss, grad = state.ascend(rows, pixels)
        slope = _cut(grad, seen, side) * light * (paint[group] * light <= 1)  # values cut off at white have no slope
        done = torch.zeros_like(rows, dtype=torch.bool)
        if not config.varied:
            done = score.keep(rows, group, place, pixels, logits, loss)
        # Images get equal weight, whatever the size of their gradients.
        slope = slope / slope.abs().flatten(1).sum(1).clamp_min(1e-30).view(-1, 1, 1, 1)
        speed = config.momentum * speed + torch.zeros_like(paint).index_add_(0, group, slope)
        cosine = (1 + math.cos(math.pi * step / config.steps)) / 2
        paint = (paint + config.step_size * (_LAST_STEP + (1 - _LAST_STEP) * cosine) * speed.sign()).clamp_(0, 1)
        if config.stop_early and bool(done.any()):
            stay = ~done
            if not config.universal:
                paint, speed = paint[stay], speed[stay]
            rows, x, keys, place = rows[stay], x[stay], keys[stay], place[stay]
            group = group[: len(rows)]
            if not len(rows):
                return
    pixels = _put(x, paint[group], place)
    logits = state.logits(rows, pixels)
    score.keep(rows, group, place, pixels, logits, state.loss(rows, logits))


def _side(height: int, width: int, config: PatchConfig) -> int:
    side = min(max(1, round(math.sqrt(config.area * height * width))), height, width)
    if config.place is not None and (config.place[0] + side > height or config.place[1] + side > width):
        raise InputError(f"a square of {side} pixels at place {config.place} leaves the image of {height} x {width}")
    return side


def _places(keys: Tensor, side: int, x: Tensor, draw: int, config: PatchConfig) -> Tensor:
    """Return the upper left pixels (n, 2) int64, fixed or drawn uniformly from all valid places."""
    if config.place is not None:
        return torch.tensor(config.place, device=x.device).expand(len(x), 2)
    room = torch.tensor([x.shape[2] - side + 1, x.shape[3] - side + 1], device=x.device)
    return torch.minimum((keyed_uniform(keys, (2,), draw) * room).long(), room - 1)


def _vary(
    keys: Tensor, place: Tensor, side: int, x: Tensor, draw: int, config: PatchConfig
) -> tuple[Tensor, Tensor | float]:
    """Draw the place (n, 2) and the brightness (n, 1, 1, 1) of the square in a step."""
    light: Tensor | float = 1.0
    if config.jitter:
        shift = (keyed_uniform(keys, (2,), draw) * (2 * config.jitter + 1)).long() - config.jitter
        last = torch.tensor([x.shape[2] - side, x.shape[3] - side], device=x.device)
        place = torch.minimum((place + shift).clamp_min(0), last)
    if config.brightness:
        light = 1 + config.brightness * (2 * keyed_uniform(keys, (1, 1, 1), draw + 1) - 1)
    return place, light


def _window(place: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Return rows (n, 1, side, 1) and columns (n, 1, 1, side) of the squares."""
    run = torch.arange(side, device=place.device)
    return (place[:, :1] + run)[:, None, :, None], (place[:, 1:] + run)[:, None, None, :]


def _put(x: Tensor, paint: Tensor, place: Tensor) -> Tensor:
    """Copy ``x`` with ``paint`` (n, C, side, side) at ``place``."""
    top, left = _window(place, paint.shape[-1])
    image = torch.arange(len(x), device=x.device).view(-1, 1, 1, 1)
    channel = torch.arange(x.shape[1], device=x.device).view(1, -1, 1, 1)
    return x.index_put((image, channel, top, left), paint.clamp(0, 1))


def _cut(grad: Tensor, place: Tensor, side: int) -> Tensor:
    """Cut the squares (n, C, side, side) out of ``grad`` (n, C, H, W)."""
    top, left = _window(place, side)
    image = torch.arange(len(grad), device=grad.device).view(-1, 1, 1, 1)
    channel = torch.arange(grad.shape[1], device=grad.device).view(1, -1, 1, 1)
    return grad[image, channel, top, left]


def _mask(place: Tensor, side: int, x: Tensor) -> Tensor:
    """Make the masks (B, H, W) bool of the squares."""
    row, column = (torch.arange(size, device=x.device) for size in x.shape[2:])
    down, across = row - place[:, :1], column - place[:, 1:]  # (B, H), (B, W)
    inside = [(offset >= 0) & (offset < side) for offset in (down, across)]
    return inside[0][:, :, None] & inside[1][:, None, :]


def _mean(values: Tensor, group: Tensor) -> Tensor:
    """Compute the mean (G,) of ``values`` (n,) over each group."""
    if not len(group):
        return values
    total = values.new_zeros(int(group.max()) + 1)
    return total.index_add(0, group, values) / total.index_add(0, group, torch.ones_like(values))
