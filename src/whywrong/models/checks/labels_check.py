"""Do the labels fit the predictions? Chance, all wrong, and label orders that fit far better."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from scipy.optimize import linear_sum_assignment
from scipy.stats import binom, binomtest
from torch import Tensor

SIGNIFICANCE = 1e-3
CHANCE = 0.05
LEAST_GAIN = 0.05  # share of images; smaller gains are not worth a warning
LEAST_IMAGES = 10
LEAST_FOR_CHANCE = 20


def gains(new: Tensor, old: Tensor, classes: int) -> bool:
    """Whether ``new`` (B,) bool is right clearly more often than ``old`` (B,) bool on the same images: sign test."""
    if not worthwhile(new, old):
        return False
    wins, losses = int((new & ~old).sum()), int((old & ~new).sum())
    better = float(binomtest(wins, wins + losses, 0.5, alternative="greater").pvalue) < SIGNIFICANCE
    return better and beats_chance(new, classes)


def worthwhile(new: Tensor, old: Tensor) -> bool:
    """Whether the gain of ``new`` (B,) bool over ``old`` (B,) bool is large enough to speak of."""
    return int(new.sum()) - int(old.sum()) >= max(LEAST_GAIN * len(new), 1)


def beats_chance(right: Tensor, classes: int) -> bool:
    """Whether ``right`` (B,) bool is clearly more than guessing: where nothing was right, a guess is a gain."""
    return float(binom.sf(int(right.sum()) - 1, len(right), 1 / classes)) < SIGNIFICANCE / 10


def check_accuracy(
    predicted: Tensor, y: Tensor, classes: int, names: Sequence[str] | None
) -> Iterator[tuple[str, str]]:
    """Names and texts of what is odd about predictions (B,) against labels (B,), both int64 in 0..classes-1."""
    predicted, y = predicted.cpu(), y.cpu()
    n, right = len(y), int((predicted == y).sum())
    if n < LEAST_IMAGES:
        return
    permuted = _permuted(predicted, y, classes, names)
    if permuted:
        yield "label order", permuted
    elif right == 0:
        yield "all wrong", f"all {n} images are wrong: labels or preprocessing are likely not what the model expects"
    elif n >= LEAST_FOR_CHANCE and binom.sf(right - 1, n, 1 / classes) > CHANCE:
        yield (
            "near chance",
            f"{right} of {n} images are right, which is not clearly better than guessing among {classes} classes: "
            "check labels, their order and the preprocessing",
        )


def _permuted(predicted: Tensor, y: Tensor, classes: int, names: Sequence[str] | None) -> str | None:
    plain = predicted == y
    for text, order in _usual_orders(classes, names):
        renamed = order[y]  # (B,)
        if _explains(predicted == renamed, plain, y, classes):
            return (
                f"the labels look counted in another order than the model's classes ({text}): "
                f"{int((predicted == renamed).sum())} instead of {int(plain.sum())} of {len(y)} images would be right; "
                "match labels by name or wnid"
            )
    fitted = _held_out(predicted, y, classes)
    if _explains(fitted == y, plain, y, classes):
        return (
            "a permutation of the classes, learnt on one half of the images and tested on the other, explains the "
            f"labels far better: {int((fitted == y).sum())} instead of {int(plain.sum())} of {len(y)} images would be "
            "right; match labels by name or wnid"
        )
    return None


def _explains(new: Tensor, plain: Tensor, y: Tensor, classes: int) -> bool:
    """Whether another order fits better, and for several classes: one class read as one other is a plain confusion."""
    return gains(new, plain, classes) and len(y[new & ~plain].unique()) >= min(3, classes)


def _usual_orders(classes: int, names: Sequence[str] | None) -> Iterator[tuple[str, Tensor]]:
    """Ways to miscount: label i stands for class ``order[i]`` of the model."""
    index = torch.arange(classes)
    yield "off by one, counted from 1", (index - 1) % classes
    yield "off by one, with a background class", (index + 1) % classes
    yield "reversed", index.flip(0)
    as_text = torch.tensor(sorted(range(classes), key=str))
    yield "numbers sorted as text: 0, 1, 10, 100", as_text
    yield "numbers sorted as text, the other way round", as_text.argsort()
    if names is not None:
        alphabetical = torch.tensor(sorted(range(classes), key=lambda i: names[i]))
        yield "names sorted alphabetically", alphabetical
        yield "names sorted alphabetically, the other way round", alphabetical.argsort()


def _held_out(predicted: Tensor, y: Tensor, classes: int) -> Tensor:
    """Predictions (B,) renamed by the permutation that fits the other half of the images best."""
    renamed = predicted.clone()
    present = torch.cat([predicted, y]).unique()  # at most 2 B of the classes matter
    to_small = torch.full((classes,), -1, dtype=torch.int64)
    to_small[present] = torch.arange(len(present))
    p, t = to_small[predicted], to_small[y]
    # Halves alternate within each class, so that both see every class that has two images.
    position = torch.zeros_like(y)
    for label in y.unique():
        rows = (y == label).nonzero().flatten()
        position[rows] = torch.arange(len(rows)) % 2
    for half in (0, 1):
        fit, test = position != half, position == half
        table = 1e-3 * torch.eye(len(present))  # where the half tells nothing, a class keeps its name
        table.index_put_((p[fit], t[fit]), torch.ones(int(fit.sum())), accumulate=True)
        rows, columns = linear_sum_assignment(table.numpy(), maximize=True)
        mapping = torch.arange(len(present))
        mapping[torch.as_tensor(rows)] = torch.as_tensor(columns)
        renamed[test] = present[mapping[p[test]]]
    return renamed
