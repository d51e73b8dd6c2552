"""Errors with two causes, both of which are needed, or either of which is enough."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from whywrong.core.randomness import keyed_bits
from whywrong.models.classifier import Classifier
from whywrong.planting.batch import PlantingBatch
from whywrong.planting.verdicts.kinds import Kind, verified
from whywrong.planting.verdicts.planted_errors import PlantedErrors, joined
from whywrong.planting.verdicts.subjects import Subjects

_CHUNK, _EACH = 8, 2  # images tried with one pair of kinds, and most errors taken from them
_HIGHEST, _APART = 4, 1  # highest severity of each cause, and largest difference between both
_RADII = (1, 2)  # severities of an adversarial step on a changed image
# Second cause on top of the first: kinds that can be undone apart from each other.
PAIRS = (
    ("corruption", "occluded"),
    ("corruption", "adversarial"),
    ("occluded", "adversarial"),
    ("corruption", "spurious"),
    ("label", "corruption"),
    ("label", "occluded"),
)
_SECOND_KINDS = {"adversarial": ("pgd",), "occluded": ("covered", "cut"), "spurious": ("mark-1", "mark-2")}
_FIRST_KINDS = {"label": ("random",), "occluded": ("covered", "shrunk")}


@dataclass(frozen=True, slots=True)
class _Pair:
    first: Kind
    second: Kind
    needs: str


def plant_doubles(
    classifier: Classifier, subjects: Subjects, kinds: list[Kind], *, count: int, tries: int, seed: int
) -> PlantedErrors | None:
    """Plant errors with two causes, half of them with both needed, half with either enough.

    *Both needed*: each cause alone leaves the image right. *Either enough*: each alone makes it wrong. A wrong label
    is always enough.

    Args:
        classifier, subjects, kinds, seed: As for one cause.
        count: Errors wanted.
        tries: Half of the most images tried per wanted error.

    Returns:
        Verified errors; None if there is none. A photograph is used once.
    """
    order = subjects.shuffled(subjects.right(), seed, "doubles")[: count * tries * _EACH]
    found: list[PlantedErrors] = []
    pairs: list[_Pair] = []
    for turn, rows in enumerate(order.split(_CHUNK)):
        pairs = pairs or _pairs(kinds, seed + turn)
        short = count - sum(map(len, found))
        if short <= 0 or not pairs:
            break
        errors = _plant(classifier, subjects, pairs.pop(0), rows, seed)
        if errors is not None:
            found.append(errors.at(range(min(len(errors), _EACH, short))))
    return joined(found) if found else None


def _pairs(kinds: list[Kind], seed: int) -> list[_Pair]:
    """Choose one kind of each cause for every pair of causes and for each need."""
    found = []
    for number, (first, second) in enumerate(PAIRS):
        some = [kind for kind in kinds if kind.cause == first and kind.name in _FIRST_KINDS.get(first, (kind.name,))]
        more = [kind for kind in kinds if kind.cause == second and kind.name in _SECOND_KINDS.get(second, (kind.name,))]
        if not (some and more):
            continue
        for needs in ("either",) if first == "label" else ("both", "either"):
            draw = keyed_bits(torch.tensor([seed]), (2,), 400 + 2 * number + (needs == "both"))[0]
            found.append(_Pair(some[int(draw[0]) % len(some)], more[int(draw[1]) % len(more)], needs))
    return found


def _plant(classifier: Classifier, subjects: Subjects, pair: _Pair, rows: Tensor, seed: int) -> PlantedErrors | None:
    """Try all pairs of severities from weak to strong, and keep the first for each image."""
    found: list[PlantedErrors] = []
    levels = range(1, _HIGHEST + 1)
    firsts = levels if pair.first.graded else (1,)
    seconds = _RADII if pair.second.cause == "adversarial" else levels if pair.second.graded else (1,)
    for total in range(2, 2 * _HIGHEST + 1):
        for first in firsts:
            second = total - first
            if second not in seconds or abs(first - second) > _APART or not len(rows):
                continue
            batch = subjects.batch(classifier, rows, seed, "doubles")
            hit, x, predicted, label = _try(batch, pair, first, second)
            if bool(hit.any()):
                found.append(_errors(subjects, pair, rows[hit], x[hit], label[hit], predicted[hit], second))
            rows = rows[~hit]
    return joined(found) if found else None


def _try(batch: PlantingBatch, pair: _Pair, first: int, second: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Apply both causes, and check what each does alone.

    Returns:
        (B,) bool whether the image is such a double, images uint8, predicted classes and labels.
    """
    one = pair.first.apply(batch, first)
    image, _, alone_first = verified(batch, one)
    middle = image.float() / 255
    changed = replace(batch, x=middle, logits=batch.classifier.logits(middle))
    two = pair.second.apply(changed, second)
    x, predicted, _ = verified(changed, two)
    if pair.second.cause == "adversarial":  # the step was made on the changed image: take the same one to the original
        without = (batch.x + (x.float() / 255 - middle)).clamp(0, 1)
    else:
        without = pair.second.apply(batch, second).x
    alone_second = batch.classifier.predict((without.clamp(0, 1) * 255).round() / 255) != batch.y
    wrong = (predicted != one.label) & (predicted != batch.y) & (predicted >= 0)
    if two.must is not None and pair.needs == "both":
        wrong &= predicted == two.must
    if pair.needs == "both":
        return wrong & ~alone_first & ~alone_second, x, predicted, one.label
    return wrong & alone_first & alone_second, x, predicted, one.label


def _errors(
    subjects: Subjects, pair: _Pair, rows: Tensor, x: Tensor, label: Tensor, predicted: Tensor, severity: int
) -> PlantedErrors:
    n = len(rows)
    return PlantedErrors(
        x=x, label=label, true=subjects.y[rows], predicted=predicted, row=rows, truth=(pair.first.cause,) * n,
        second=(pair.second.cause,) * n, kind=(f"{pair.first.name}+{pair.second.name}",) * n, needs=(pair.needs,) * n,
        role=("double",) * n, severity=torch.full_like(rows, severity), above=torch.zeros_like(rows, dtype=torch.bool),
        hard=subjects.hard()[rows], sources=tuple(subjects.sources[row] for row in rows.tolist()),
        half=subjects.half[rows],
    )  # fmt: skip
