"""Nets whose best counterfactuals are known without search."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from whywrong.core.randomness import keyed_normal, keyed_uniform, row_keys

SHAPE = (3, 6, 6)


def images(batch: int, seed: int = 0, shape: tuple[int, ...] = SHAPE) -> Tensor:
    """(batch, C, H, W), well inside [0, 1]."""
    return 0.2 + 0.6 * keyed_uniform(row_keys(seed, batch), shape)


class Linear(nn.Module):
    """Logits (0, <w, x> - <w, 0.5>): log-odds of class 1 are linear with slope w."""

    def __init__(self, seed: int = 0, shape: tuple[int, ...] = SHAPE) -> None:
        super().__init__()
        self.w = nn.Parameter(keyed_normal(row_keys(seed, 1), shape)[0] / 4)

    def forward(self, x: Tensor) -> Tensor:
        score = ((x - 0.5) * self.w).flatten(1).sum(1)
        return torch.stack([torch.zeros_like(score), score], dim=1)


class Quadratic(nn.Module):
    """Logits (0, -||x - c||^2)."""

    def __init__(self, centre: Tensor) -> None:
        super().__init__()
        self.centre = nn.Parameter(centre)

    def forward(self, x: Tensor) -> Tensor:
        score = -(x - self.centre).square().flatten(1).sum(1)
        return torch.stack([torch.zeros_like(score), score], dim=1)


class Patch(nn.Module):
    """Class 1 where rows and columns 1 to 3 are bright; a little of everything else enters, fifty times weaker."""

    def __init__(self) -> None:
        super().__init__()
        weight = torch.full((8, 8), 0.02)
        weight[1:4, 1:4] = 1.0
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        score = ((x - 0.5) * self.weight).sum((1, 2, 3))
        return torch.stack([-score, score, torch.tanh(score) - 1], dim=1)


class Constant(nn.Module):
    """Looks at nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.tensor([0.0, 1.0, -1.0]))

    def forward(self, x: Tensor) -> Tensor:
        return self.bias + 0 * x.sum((1, 2, 3))[:, None]
