"""Check labels against predictions for chance accuracy, no correct prediction, and a permuted label order."""

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
    """Test whether ``new`` is correct clearly more often than ``old``.

    Both are (B,) bool on the same images; a sign test decides.
    """
    if not worthwhile(new, old):
        return False
    wins, losses = int((new & ~old).sum()), int((old & ~new).sum())
    better = float(binomtest(wins, wins + losses, 0.5, alternative="greater").pvalue) < SIGNIFICANCE
    return better and beats_chance(new, classes)


def worthwhile(new: Tensor, old: Tensor) -> bool:
    """Return whether the gain of ``new`` over ``old`` is large enough to report.

    Both are (B,) bool.
    """
    return int(new.sum()) - int(old.sum()) >= max(LEAST_GAIN * len(new), 1)


def beats_chance(right: Tensor, classes: int) -> bool:
    """Return whether accuracy is clearly above chance.

    ``right`` is (B,) bool. Without this test, guessing would count as a gain over a model that is never correct.
    """
    return float(binom.sf(int(right.sum()) - 1, len(right), 1 / classes)) < SIGNIFICANCE / 10


def check_accuracy(
    predicted: Tensor, y: Tensor, classes: int, names: Sequence[str] | None
) -> Iterator[tuple[str, str]]:
    """Yield the names and texts of warnings about the labels.

    Predictions and labels are (B,) int64 in 0..classes-1.
    """
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
    """Return whether another label order fits better, for several classes.

    A single class predicted as another one is an ordinary confusion.
    """
    return gains(new, plain, classes) and len(y[new & ~plain].unique()) >= min(3, classes)


def _usual_orders(classes: int, names: Sequence[str] | None) -> Iterator[tuple[str, Tensor]]:
    """Yield common indexing mistakes, in which label i means class ``order[i]`` of the model."""
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
    """Rename predictions (B,) by the permutation that fits the other half of the images best."""
    renamed = predicted.clone()
    present = torch.cat([predicted, y]).unique()  # at most 2 B classes occur
    to_small = torch.full((classes,), -1, dtype=torch.int64)
    to_small[present] = torch.arange(len(present))
    p, t = to_small[predicted], to_small[y]
    # Halves alternate within each class, so that both contain every class with at least two images.
    position = torch.zeros_like(y)
    for label in y.unique():
        rows = (y == label).nonzero().flatten()
        position[rows] = torch.arange(len(rows)) % 2
    for half in (0, 1):
        fit, test = position != half, position == half
        table = 1e-3 * torch.eye(len(present))  # a class keeps its name if the other half has no information about it
        table.index_put_((p[fit], t[fit]), torch.ones(int(fit.sum())), accumulate=True)
        rows, columns = linear_sum_assignment(table.numpy(), maximize=True)
        mapping = torch.arange(len(present))
        mapping[torch.as_tensor(rows)] = torch.as_tensor(columns)
        renamed[test] = present[mapping[p[test]]]
    return renamed
