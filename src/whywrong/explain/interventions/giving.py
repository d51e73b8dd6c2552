"""Give the suspected cause of an error to other images, each beside a control on the same image.

Every receiver is a correctly classified image that gets the cause once and a control once. A cause that works on
other images turns the receivers, and its control does not. Source: ours, docs/methods/interventions.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from whywrong.core.randomness import keyed_uniform
from whywrong.explain.interventions.fields import equal_field
from whywrong.models.classifier import Classifier

RECEIVERS = 16
_DRAWS = 8

# From rows of the errors (n,), their receivers (n, C, H, W) and the number of the receiver to changed receivers.
Change = Callable[[Tensor, Tensor, int], Tensor]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class GivenShares:
    """Effect of giving the causes of B errors to n other images each.

    Attributes:
        share: (B,) float32, share of the receivers that turn; NaN if the error was not tested.
        control: (B,) float32, the same share with the control.
        wins: (B,) int64, receivers that turn with the cause and not with its control.
        losses: (B,) int64, receivers that turn with the control only.
        edits: Number of receivers of an error.
        forwards: (B,) int64, forward passes.
    """

    share: Tensor
    control: Tensor
    wins: Tensor
    losses: Tensor
    edits: int
    forwards: Tensor


def give_mark(
    classifier: Classifier,
    x: Tensor,
    predicted: Tensor,
    boxes: Tensor,
    *,
    pool: Tensor,
    receivers: Tensor,
    donors: Tensor,
    keys: Tensor,
) -> GivenShares:
    """Paste a box of each error into other images at the same place, and count who then gets its prediction.

    The control pastes as much of other content: on half of the receivers the same place of a correct image of the
    predicted class, on the others another place of the error.

    Args:
        classifier: Images (B, C, H, W) in [0, 1] to classes.
        x: Errors, (B, C, H, W), float32, in [0, 1].
        predicted: (B,) int64, their predictions.
        boxes: (B, 4), left, top, width, height as shares of the image; NaN tests nothing.
        pool: (R, C, H, W) correctly classified images.
        receivers: (B, n) int64 indices into the pool of images of other classes; an error with a -1 is not tested.
        donors: (B, m) int64 indices into the pool of images of the predicted class; -1 if there are none.
        keys: (B,) int64, seed of the places.
    """
    masks = box_masks(boxes, *x.shape[2:])
    has_donor = donors[:, 0] >= 0

    def cause(rows: Tensor, into: Tensor, number: int) -> Tensor:
        return torch.where(masks[rows], x[rows], into)

    def control(rows: Tensor, into: Tensor, number: int) -> Tensor:
        down, across = another_place(boxes[rows], keys[rows], number, x.shape[2], x.shape[3])
        moved = rolled(x[rows], -down, -across)
        donor = pool[donors[rows, number // 2 % donors.shape[1]].clamp(min=0)]
        of_donor = has_donor[rows] & (number % 2 == 0)
        return torch.where(masks[rows], torch.where(of_donor[:, None, None, None], donor, moved), into)

    def turned(answers: Tensor, rows: Tensor) -> Tensor:
        return answers == predicted[rows]

    return _give(classifier, pool, receivers, boxes.isfinite().all(1), cause, control, turned)


def give_cover(
    classifier: Classifier, x: Tensor, label: Tensor, boxes: Tensor, *, pool: Tensor, receivers: Tensor, keys: Tensor
) -> GivenShares:
    """Paste the cover of each error over images of its label, and count those that are then misclassified.

    The control pastes the same cover at another place of the same receiver.

    Args:
        classifier, x, boxes, pool, keys: As for :func:`give_mark`.
        label: (B,) int64, labels of the errors.
        receivers: (B, n) int64 indices into the pool of images of the label; an error with a -1 is not tested.
    """
    masks = box_masks(boxes, *x.shape[2:])

    def cause(rows: Tensor, into: Tensor, number: int) -> Tensor:
        return torch.where(masks[rows], x[rows], into)

    def control(rows: Tensor, into: Tensor, number: int) -> Tensor:
        down, across = another_place(boxes[rows], keys[rows], number, x.shape[2], x.shape[3])
        return torch.where(rolled(masks[rows], down, across), rolled(x[rows], down, across), into)

    def turned(answers: Tensor, rows: Tensor) -> Tensor:
        return answers != label[rows]

    return _give(classifier, pool, receivers, boxes.isfinite().all(1), cause, control, turned)


def give_change(
    classifier: Classifier,
    change: Callable[[Tensor, Tensor], Tensor],
    label: Tensor,
    *,
    pool: Tensor,
    receivers: Tensor,
    keys: Tensor,
) -> GivenShares:
    """Damage images of the label as each error is damaged, and count those that are then misclassified.

    The control is a smooth random field with the same l2 norm.

    Args:
        classifier, pool, keys: As for :func:`give_mark`.
        change: Maps rows (n,) of the errors and receivers (n, C, H, W) to changed receivers in [0, 1].
        label: (B,) int64, labels of the errors.
        receivers: As for :func:`give_cover`.
    """

    def cause(rows: Tensor, into: Tensor, number: int) -> Tensor:
        return change(rows, into)

    def control(rows: Tensor, into: Tensor, number: int) -> Tensor:
        return equal_field(into, change(rows, into), keys[rows], number)

    def turned(answers: Tensor, rows: Tensor) -> Tensor:
        return answers != label[rows]

    valid = torch.ones_like(label, dtype=torch.bool)
    return _give(classifier, pool, receivers, valid, cause, control, turned)


def _give(
    classifier: Classifier,
    pool: Tensor,
    receivers: Tensor,
    valid: Tensor,
    cause: Change,
    control: Change,
    turned: Callable[[Tensor, Tensor], Tensor],
) -> GivenShares:
    """Classify every receiver with the cause and with its control, one number of receiver at a time."""
    tested = valid & (receivers >= 0).all(1)
    rows = tested.nonzero().flatten()
    count = receivers.shape[1]
    hits = torch.zeros(len(receivers), 2, 2, dtype=torch.int64, device=receivers.device)  # by cause and control
    with classifier, torch.no_grad():
        for number in range(count):
            for piece in rows.split(classifier.batch_size):
                into = pool[receivers[piece, number]]
                with_cause = turned(classifier.predict(cause(piece, into, number)), piece)
                with_control = turned(classifier.predict(control(piece, into, number)), piece)
                hits[piece, with_cause.long(), with_control.long()] += 1
    nothing = torch.full((len(receivers),), torch.nan, device=pool.device)
    return GivenShares(
        share=torch.where(tested, hits[:, 1].sum(1) / count, nothing),
        control=torch.where(tested, hits[:, :, 1].sum(1) / count, nothing),
        wins=hits[:, 1, 0],
        losses=hits[:, 0, 1],
        edits=count,
        forwards=2 * count * tested.long(),
    )


def box_masks(boxes: Tensor, height: int, width: int) -> Tensor:
    """Return the pixels (B, 1, H, W) bool of boxes, at least one pixel each; none for NaN."""
    known = boxes.nan_to_num(0.0)
    spans = []
    for start, extent, side in ((known[:, 1], known[:, 3], height), (known[:, 0], known[:, 2], width)):
        first = (start * side).round().clamp(0, side - 1)
        last = torch.maximum(((start + extent) * side).round(), first + 1)
        at = torch.arange(side, device=boxes.device)
        spans.append((at >= first[:, None]) & (at < last[:, None]))
    masks = spans[0][:, None, :, None] & spans[1][:, None, None, :]
    return masks & boxes.isfinite().all(1)[:, None, None, None]


def another_place(boxes: Tensor, keys: Tensor, number: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Draw another place for each box, the least overlapping of eight draws.

    Returns offsets down and across in pixels, (n,) int64.
    """
    place = keyed_uniform(keys, (2, _DRAWS), number).to(boxes)
    room = 1 - boxes[:, 2:]  # across and down
    moved = place * room[:, :, None]  # left and top of each draw
    away = (moved - boxes[:, :2, None]).abs()
    overlap = (boxes[:, 2:, None] - away).clamp(min=0).prod(1)
    best = overlap.argmin(1)[:, None, None].expand(-1, 2, 1)
    offset = (moved.gather(2, best)[:, :, 0] - boxes[:, :2]).nan_to_num(0.0)
    sides = offset.new_tensor([width, height])
    across, down = (offset * sides).round().long().unbind(1)
    return down, across


def rolled(x: Tensor, down: Tensor, across: Tensor) -> Tensor:
    """Move images (n, C, H, W) by whole pixels (n,), cyclically."""
    for dim, by in ((2, down), (3, across)):
        side = x.shape[dim]
        source = (torch.arange(side, device=x.device) - by[:, None]) % side  # (n, side)
        index = source[:, None, :, None] if dim == 2 else source[:, None, None, :]
        x = x.gather(dim, index.expand_as(x))
    return x
