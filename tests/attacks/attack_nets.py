"""Classifiers whose smallest fixes are known in closed form."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Linear(nn.Module):
    """Logits W x + b."""

    def __init__(self, weights: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weights, self.bias = nn.Parameter(weights), nn.Parameter(bias)

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weights.T + self.bias


class Ball(nn.Module):
    """Two classes; the error margin of class 0 is ||x - centre||^2 - radius^2."""

    def __init__(self, centre: Tensor, radius: float) -> None:
        super().__init__()
        self.centre, self.radius = nn.Parameter(centre), radius

    def forward(self, x: Tensor) -> Tensor:
        far = (x - self.centre).flatten(1).square().sum(1) - self.radius**2
        return torch.stack([torch.zeros_like(far), far], 1)


class SmallNet(nn.Module):
    """A smooth random net, 3 x 8 x 8 pixels to five classes."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        self.first = nn.Parameter(torch.randn(32, 192, generator=draw) / 8)
        self.second = nn.Parameter(torch.randn(5, 32, generator=draw))

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh((x.flatten(1) - 0.5) @ self.first.T) @ self.second.T
