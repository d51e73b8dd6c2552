"""What each arm of a repair trains on, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from whywrong.core.randomness import keyed_uniform, row_keys
from whywrong.verdicts.repair.config import REGIONS, REPLAY, RepairConfig

_ERRORS, _REPLAY, _PASTE, _WHICH = 0, 1, 2, 3  # random streams


@dataclass(frozen=True, slots=True, eq=False)
class Images:
    """Images to train on.

    Attributes:
        x: (N, C, H, W) uint8.
        y: (N,) int64, classes to learn.
        boxes: (N, 4) float32, left, top, right, bottom of the misleading region as shares; NaN if unknown.
    """

    x: Tensor
    y: Tensor
    boxes: Tensor

    def __len__(self) -> int:
        return len(self.y)


def batches(errors: Images, correct: Images, arm: str, config: RepairConfig) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Yield the batches of an arm.

    All arms see equally many images in equally many steps, and the same correct ones.

    Yields:
        Images (B, C, H, W) float32 in [0, 1], their classes (B,), and which of them (B,) bool are unchanged correct
        images.
    """
    few = config.batch - round(config.batch * config.replay)
    for step in range(config.steps):
        key = row_keys(config.seed + 1 + step, 1)
        kept = _drawn(key, config.batch if arm == REPLAY else config.batch - few, len(correct), _REPLAY)
        x, y = _images(correct, kept), correct.y[kept]
        clean = torch.ones(len(kept), dtype=torch.bool, device=y.device)
        if arm == REPLAY:
            yield x, y, clean
            continue
        chosen = _drawn(key, few, len(errors), _ERRORS)
        shown = _images(errors, chosen)
        if arm == REGIONS:
            x, clean, shown = _pasted(key, errors, chosen, x, shown)
        yield torch.cat([x, shown]), torch.cat([y, errors.y[chosen]]), torch.cat([clean, clean.new_zeros(len(chosen))])


def _pasted(key: Tensor, errors: Images, chosen: Tensor, x: Tensor, shown: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Paste regions of errors into half of the correct images, and back into half of the errors.

    Returns:
        The correct images, which of them are unchanged, and the errors.
    """
    draws = keyed_uniform(key, (len(x) + len(shown),), _PASTE)[0].to(x.device)
    source = (torch.arange(len(x), device=x.device) + int(keyed_uniform(key, (1,), _WHICH)[0, 0] * len(shown))) % len(
        shown
    )
    boxes = errors.boxes[chosen]
    known = boxes.isfinite().all(1)
    into = (draws[: len(x)] < 0.5) & known[source]
    mixed = _paste(x, shown[source], boxes[source], into)
    back = (draws[len(x) :] < 0.5) & known
    donor = torch.arange(len(shown), device=x.device) % len(x)
    return mixed, ~into, _paste(shown, x[donor], boxes, back)


def _paste(x: Tensor, donor: Tensor, boxes: Tensor, rows: Tensor) -> Tensor:
    """Replace the region inside each box by that of the donor, in some rows."""
    height, width = x.shape[2:]
    across, down = ((torch.arange(side, device=x.device, dtype=boxes.dtype) + 0.5) / side for side in (width, height))
    inside = (across >= boxes[:, None, 0, None]) & (across < boxes[:, None, 2, None])
    inside = inside & ((down >= boxes[:, 1, None]) & (down < boxes[:, 3, None]))[:, :, None]
    return torch.where((inside & rows[:, None, None])[:, None], donor, x)


def _drawn(key: Tensor, count: int, n: int, stream: int) -> Tensor:
    """Draw rows, (count,) int64."""
    return (keyed_uniform(key, (count,), stream)[0] * n).long().clamp_max(n - 1)


def _images(images: Images, rows: Tensor) -> Tensor:
    return images.x[rows.to(images.x.device)].float() / 255
