"""Rows of the patch study: one square of the image is corrupted, random or adversarial.

Source: Gu, Tresp and Qin 2022, arXiv 2111.10659, which compares vision transformers with CNNs. Differences: the pixels
of an adversarial patch follow momentum sign steps, and each image is attacked at the same few drawn positions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from whywrong.attacks.patch import PatchConfig, patch
from whywrong.core.errors import InputError, ModelError
from whywrong.core.randomness import keyed_uniform, row_keys
from whywrong.data.corruptions import corrupt
from whywrong.explain.masking.tokens import find_transformer
from whywrong.explain.patch_groups.rollout import rollout
from whywrong.explain.robustness.parts import Part, RowCall, RowMissing, part
from whywrong.models.classifier import Classifier
from whywrong.models.layers.attention import with_temperature

Place = tuple[int, int]


def patch_side(side: int | None, height: int, width: int, token: int) -> int:
    """Choose the side of the patch in pixels.

    Args:
        side: As set; None is about a seventh of the shorter side, in whole patch tokens if there are any.
        height, width: Of the images.
        token: Side of the patch tokens; 0 without any.

    Raises:
        InputError: The patch does not fit into the image.
    """
    shorter = min(height, width)
    if side is None:
        unit = token or 1
        return min(max(1, round(shorter / 7 / unit)) * unit, shorter)
    if side > shorter:
        raise InputError(f"a patch of {side} x {side} pixels does not fit into images of {height} x {width}")
    return side


def token_side(classifier: Classifier) -> int:
    """Return the side of the patch tokens of a transformer, or 0."""
    try:
        _, vit = find_transformer(classifier)
    except ModelError:
        return 0
    height, width = vit.patch_embed.patch_size  # type: ignore[union-attr,misc]
    return int(height) if height == width else 0


def positions(height: int, width: int, side: int, number: int | None, seed: int) -> list[Place]:
    """Draw cells of a grid of squares.

    Returns:
        Row and column of the upper left pixel of each, in the order of the grid; the same for all images and models.
    """
    cells = [(side * row, side * col) for row in range(height // side) for col in range(width // side)]
    if number is None or number >= len(cells):
        return cells
    drawn = keyed_uniform(row_keys(seed, 1), (len(cells),))[0].argsort(stable=True)[:number]
    return [cells[index] for index in sorted(drawn.tolist())]


def natural(call: RowCall) -> tuple[Part, ...]:
    """Copy one square of a corrupted image into the image."""
    places, kinds, severity = _places(call), call.config.patch_corruptions, call.config.patch_severity
    watch = _Attention(call.classifier, call.x, call.side)
    found, names, before, after = [], [], [], []
    for kind in kinds:
        damaged = corrupt(call.x, kind, severity, keys=call.keys)
        for place in places:
            changed = pasted(call.x, cut(damaged, place, call.side), place)
            found.append(call.classifier.predict(changed))
            names.append(f"{kind} {_name(place)}")
            before.append(watch.clean(place))
            after.append(watch.of(changed, place))
    return (part(call, "patch_natural", names, found, mass=(_stack(before), _stack(after))),)


def noise(call: RowCall) -> tuple[Part, ...]:
    """Put a square of random pixels into the image.

    It is the control of adversarial patches.
    """
    places = _places(call)
    watch = _Attention(call.classifier, call.x, call.side)
    found, before, after = [], [], []
    for draw, place in enumerate(places):
        changed = pasted(call.x, _random(call, draw), place)
        found.append(call.classifier.predict(changed))
        before.append(watch.clean(place))
        after.append(watch.of(changed, place))
    mass = _stack(before), _stack(after)
    return (part(call, "patch_noise", [_name(place) for place in places], found, mass=mass),)


def adversarial(call: RowCall) -> tuple[Part, ...]:
    """Make an adversarial square at each position, and try it elsewhere.

    The parts are the attack, the same square half a token away, at the next position, and on each other model.
    """
    places, rivals = _places(call), [index for index in range(len(call.models)) if index != call.own]
    watch = _Attention(call.classifier, call.x, call.side)
    found, shifted, moved, before, after = [], [], [], [], []
    transferred: dict[int, list[Tensor]] = {index: [] for index in rivals}
    for number, place in enumerate(places):
        attacked, predicted = _attack(call, call.classifier, place)
        paint = cut(attacked, place, call.side)
        found.append(predicted)
        shifted.append(call.classifier.predict(pasted(call.x, paint, _half_way(call, place))))
        if len(places) > 1:
            moved.append(call.classifier.predict(pasted(call.x, paint, places[(number + 1) % len(places)])))
        for index in rivals:
            transferred[index].append(call.models[index].predict(attacked))
        before.append(watch.clean(place))
        after.append(watch.of(attacked, place))
    names = [_name(place) for place in places]
    mass = _stack(before), _stack(after)
    parts = [part(call, "patch_adversarial", names, found, mass=mass), part(call, "patch_shifted", names, shifted)]
    if moved:
        parts.append(part(call, "patch_moved", names, moved))
    parts += [part(call, "patch_transfer", names, answers, model=index) for index, answers in transferred.items()]
    return tuple(parts)


def temperature(call: RowCall) -> tuple[Part, ...]:
    """Attack the model with smoothed attention.

    The unchanged images are classified by it too.
    """
    if not call.config.temperatures:
        raise RowMissing("no temperatures are set")
    places, parts = _places(call), []
    names = [_name(place) for place in places]
    for value in call.config.temperatures:
        smooth = with_temperature(call.classifier, value)
        watch = _Attention(smooth, call.x, call.side)
        base = f"clean_t{value:g}"
        parts.append(part(call, base, ("unchanged",), [smooth.predict(call.x)], base=base))
        answers, before, after = [], [], []
        for place in places:
            attacked, predicted = _attack(call, smooth, place)
            answers.append(predicted)
            before.append(watch.clean(place))
            after.append(watch.of(attacked, place))
        mass = _stack(before), _stack(after)
        parts.append(part(call, f"patch_adversarial_t{value:g}", names, answers, base=base, mass=mass))
    return tuple(parts)


def cut(x: Tensor, place: Place, side: int) -> Tensor:
    """Cut the square (B, C, side, side) at a place out of images."""
    row, col = place
    return x[:, :, row : row + side, col : col + side]


def pasted(x: Tensor, paint: Tensor, place: Place) -> Tensor:
    """Copy images with ``paint`` (B, C, side, side) at a place.

    All other pixels keep every bit.
    """
    changed = x.clone()
    cut(changed, place, paint.shape[-1]).copy_(paint)
    return changed


def _places(call: RowCall) -> list[Place]:
    height, width = call.x.shape[2:]
    return positions(height, width, call.side, call.config.positions, call.config.seed)


def _name(place: Place) -> str:
    return f"row {place[0]}, column {place[1]}"


def _random(call: RowCall, draw: int) -> Tensor:
    return keyed_uniform(call.keys, (call.x.shape[1], call.side, call.side), draw)


def _half_way(call: RowCall, place: Place) -> Place:
    """Shift a place by half a token, towards the inside where the border is near."""
    half = max(1, (call.token or call.side) // 2)
    last = (call.x.shape[2] - call.side, call.x.shape[3] - call.side)
    row, col = (at + half if at + half <= most else max(0, at - half) for at, most in zip(place, last, strict=True))
    return row, col


def _attack(call: RowCall, classifier: Classifier, place: Place) -> tuple[Tensor, Tensor]:
    """Attack with a square at a place; return the images and the predictions (B,)."""
    area = call.side**2 / math.prod(call.x.shape[2:])
    config = PatchConfig(area=area, steps=call.config.patch_steps, place=place)
    result = patch(classifier, call.x, call.y, keys=call.keys, config=config)
    return result.x_adv, result.predicted


class _Attention:
    """Shares of the attention rollout on squares; NaN if the model has no such attention."""

    def __init__(self, classifier: Classifier, x: Tensor, side: int) -> None:
        self.classifier, self.side = classifier, side
        self.height, self.width = x.shape[2:]
        try:
            self._clean: Tensor | None = rollout(classifier, x)
        except ModelError:
            self._clean = None
        self._images = len(x)

    def clean(self, place: Place) -> Tensor:
        """Return the share (B,) of a square in the unchanged images."""
        return self._share(self._clean, place)

    def of(self, x: Tensor, place: Place) -> Tensor:
        """Return the share (B,) of a square in changed images."""
        return self._share(None if self._clean is None else rollout(self.classifier, x), place)

    def _share(self, maps: Tensor | None, place: Place) -> Tensor:
        if maps is None:
            return torch.full((self._images,), torch.nan)
        rows, cols = maps.shape[1:]
        down = _overlap(place[0], self.side, self.height, rows)
        across = _overlap(place[1], self.side, self.width, cols)
        inside = torch.einsum("bij,i,j->b", maps, down, across)
        return (inside / maps.sum((1, 2))).float()


def _overlap(start: int, side: int, length: int, cells: int) -> Tensor:
    """Compute the share (cells,) of each cell of a line that lies on a run of pixels."""
    edges = torch.arange(cells + 1, dtype=torch.float64) * (length / cells)
    covered = (edges[1:].clamp_max(start + side) - edges[:-1].clamp_min(start)).clamp_min_(0)
    return covered / (length / cells)


def _stack(columns: Sequence[Tensor]) -> Tensor:
    return torch.stack([column.cpu() for column in columns], 1).float()
