"""Errors with a planted mark or a blurred object, whose cells and types are known.

The net has six classes, one shape each in the centre of the picture; in training, a mark in the top left corner came
with class 1. A mark that speaks for one class of six raises its score five times as much as it lowers each other one,
and a lost shape lowers its class five times as much as it raises each other one.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn

from whywrong.core.randomness import keyed_uniform, row_keys
from whywrong.data.corruptions.filters import gaussian_filter
from whywrong.explain.suppression import SuppressionConfig, SuppressionResult, promotion_suppression
from whywrong.models.classifier import Classifier

SIDE = 16
CLASSES = 6
MARK = (slice(0, 4), slice(0, 4))  # one cell of a grid of 4 x 4
CENTRE = (slice(None), slice(1, 4), slice(1, 4))  # cells of the shape
CONFIG = SuppressionConfig(grid=4, control=False, maps=False, gauge="centred")


def drawn(batch: int, seed: int, *, marks: bool = True) -> tuple[Tensor, Tensor]:
    """Pictures (B, 3, 16, 16) of a shape before noise, with the mark on most pictures of class 1, and their classes."""
    keys = row_keys(seed, batch)
    x = 0.35 + 0.3 * keyed_uniform(keys, (3, SIDE, SIDE))
    y = torch.arange(batch) % CLASSES
    down, across = torch.meshgrid(torch.arange(SIDE) - 8.5, torch.arange(SIDE) - 8.5, indexing="ij")
    inside = (down.abs() < 5) & (across.abs() < 5)
    shapes = torch.stack(
        [
            ((down**2 + across**2).sqrt() - 4).abs() < 1.2,
            (torch.maximum(down.abs(), across.abs()) - 4).abs() < 0.8,
            (down.abs() < 1.2) & inside,
            (across.abs() < 1.2) & inside,
            ((down - across).abs() < 1.5) & inside,
            ((down + across).abs() < 1.5) & inside,
        ]
    )
    x = torch.where(shapes[y][:, None], 0.9, x)
    if marks:
        marked = (y == 1) & (keyed_uniform(keys, (), 1) < 0.85)
        x[marked] = with_mark(x[marked])
    return x, y


def with_mark(x: Tensor) -> Tensor:
    marked = x.clone()
    marked[:, :, *MARK] = torch.tensor([1.0, 0.0, 0.0])[None, :, None, None]
    return marked


@functools.cache
def trained() -> nn.Module:
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        net = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 12, 3, padding=1), nn.ReLU(),
            nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12 * 16, CLASSES),
        )  # fmt: skip
        x, y = drawn(384, 0)
        optimiser = torch.optim.Adam(net.parameters(), 1e-2)
        for step in range(60):
            rows = slice(128 * (step % 3), 128 * (step % 3 + 1))
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
            optimiser.step()
    return net.eval()


def flipped(change: Callable[[Tensor], Tensor], into: int | None) -> SuppressionResult:
    """Compare pictures that are predicted right with what a change makes of them, where it turns the prediction."""
    x, y = drawn(240, 1, marks=False)
    keep = y != 1
    x, y = x[keep], y[keep]
    altered = change(x)
    with torch.no_grad():
        before, after = trained()(x).argmax(1), trained()(altered).argmax(1)
    wrong = (before == y) & ((after == into) if into is not None else (after != y))
    found = promotion_suppression(Classifier(trained()), x[wrong], altered[wrong], y[wrong], config=CONFIG)
    assert found.flipped.all()
    return found


def test_a_mark_of_another_class_promotes_it_in_its_own_cell():
    found = flipped(with_mark, into=1)
    assert len(found.status) >= 20
    positive = found.g.clamp_min(0).flatten(1)
    share = positive[:, 0] / positive.sum(1)
    assert float((share > 0.8).float().mean()) >= 0.8
    assert sum(kind == "promotion" for kind in found.image_type) >= 0.8 * len(found.image_type)


def test_a_blurred_object_suppresses_its_class_in_its_own_cells():
    found = flipped(lambda x: gaussian_filter(x, 1.5), into=None)
    assert len(found.status) >= 20
    assert sum(kind == "suppression" for kind in found.image_type) >= 0.8 * len(found.image_type)
    cells = found.s.clamp_min(0)
    share = cells[CENTRE].flatten(1).sum(1) / cells.flatten(1).sum(1)
    assert float((share > 0.8).float().mean()) >= 0.8
