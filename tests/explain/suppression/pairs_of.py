"""Pairs and small nets with known effects."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from whywrong.core.randomness import keyed_normal, keyed_uniform, row_keys
from whywrong.explain.suppression.cells import grid_cells
from whywrong.explain.suppression.effects import Pairs
from whywrong.explain.suppression.measures import Scores
from whywrong.models.classifier import Classifier

SIDE = 8


def noise(batch: int, seed: int, side: int = SIDE) -> Tensor:
    """(batch, 3, side, side) in [0, 1]."""
    return keyed_uniform(row_keys(seed, batch), (3, side, side))


def pairs_of(ref: Tensor, alt: Tensor, a: Tensor, b: Tensor, grid: int = 4) -> Pairs:
    """Pairs on a grid."""
    cells = grid_cells(grid, *ref.shape[2:]).expand(len(ref), -1, -1)
    unlikely = torch.zeros(len(ref), dtype=torch.bool)
    return Pairs(ref=ref, alt=alt, a=a, b=b, cells=cells, count=grid * grid, probabilities=unlikely)


def ends_of(classifier: Classifier, pairs: Pairs) -> Scores:
    """(B, 2), scores of both images of each pair."""
    every = torch.arange(len(pairs))
    found = [pairs.scores(classifier.logits(x), every).values for x in (pairs.ref, pairs.alt)]
    return Scores(torch.stack(found, 1))


class Linear(nn.Module):
    """Logits W x + b."""

    def __init__(self, classes: int = 4, side: int = SIDE) -> None:
        super().__init__()
        self.w = nn.Parameter(0.1 * keyed_normal(row_keys(3, classes), (3, side, side)))
        self.b = nn.Parameter(torch.arange(float(classes)))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("bchw,kchw->bk", x, self.w) + self.b


class Halves(nn.Module):
    """Class 0 reads the left half, class 1 the right half, class 2 nothing."""

    def forward(self, x: Tensor) -> Tensor:
        half = x.shape[3] // 2
        left, right = x[..., :half].sum((1, 2, 3)), x[..., half:].sum((1, 2, 3))
        return torch.stack([-left, right, torch.zeros_like(left)], 1)


class Opposed(nn.Module):
    """Two logits, one the negative of the other, of a curved function."""

    def forward(self, x: Tensor) -> Tensor:
        value = (x**2).sum((1, 2, 3)) + x.mean((1, 2, 3)) * x.amax((1, 2, 3))
        return torch.stack([-value, value], 1)


class Shifted(nn.Module):
    """A curved net with a multiple of the mean of the image added to all logits."""

    def __init__(self, amount: float) -> None:
        super().__init__()
        self.amount = amount
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            self.net = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, 12), nn.Tanh(), nn.Linear(12, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x) + self.amount * x.mean((1, 2, 3))[:, None]
