"""A net whose features are known, and images with an object and a cue."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from whywrong.core.classes import ClassList
from whywrong.core.input_spec import InputSpec
from whywrong.core.randomness import keyed_uniform, row_keys
from whywrong.explain.spurious import Features
from whywrong.models.classifier import Classifier

SIDE = 8
NAMES = ("cat", "dog", "bird")


class Channels(nn.Module):
    """Features are the means of red, green and blue; red and green are what cats and dogs are made of, blue is a cue
    that speaks for cat."""

    def __init__(self, rotation: Tensor | None = None) -> None:
        super().__init__()
        rotation = torch.eye(3) if rotation is None else rotation
        self.conv = nn.Conv2d(3, 3, 1, bias=False)
        self.head = nn.Linear(3, 3)
        weight = torch.tensor([[20.0, 0.0, 30.0], [0.0, 20.0, 0.0], [0.0, 0.0, 0.0]])
        with torch.no_grad():
            self.conv.weight.copy_(rotation[:, :, None, None])
            self.head.weight.copy_(weight @ rotation.T)
            self.head.bias.copy_(torch.tensor([0.1, 0.0, 4.0]))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.conv(x).mean((2, 3)))


def toy_classifier(rotation: Tensor | None = None, batch_size: int = 64) -> Classifier:
    spec = InputSpec(channels=3, height=SIDE, width=SIDE, resize=None, interpolation="bilinear", mean=None, std=None)
    return Classifier(Channels(rotation), classes=ClassList(NAMES), preprocess=spec, batch_size=batch_size)


def toy_images(n: int, cue_share: tuple[float, float, float] = (0.5, 0.0, 0.0), seed: int = 0) -> tuple[Tensor, ...]:
    """Images (3n, 3, 8, 8), classes, and which carry the cue: a blue square in the upper left corner."""
    label = torch.arange(3 * n) % 3
    keys = row_keys(seed, 3 * n)
    x = 0.2 * keyed_uniform(keys, (3, SIDE, SIDE))
    x[:, 2] = 0.05 * x[:, 2]
    strength = 0.25 + 0.1 * keyed_uniform(keys, (), 1)
    for index in (0, 1):
        x[label == index, index] += strength[label == index, None, None]
    cue = keyed_uniform(keys, (), 2) < torch.tensor(cue_share)[label]
    x[cue, 2, :4, :4] = 1.0
    return x.clamp(0, 1), label, cue


def by_hand(phi: Tensor, classifier: Classifier, label: Tensor) -> Features:
    head = classifier.module.head  # type: ignore[union-attr]
    return Features(phi, phi @ head.weight.detach().T + head.bias.detach(), label)  # type: ignore[operator, union-attr]
