"""Small nets without a library behind them, and slow second writings of the rules in plain loops."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn


class Residual(nn.Module):
    """Every kind of step that a CNN has: BatchNorm, in-place ReLU, a sum, a gate, a depthwise layer, both poolings."""

    def __init__(self, bias: bool = False) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 1, 1, bias=bias)
        self.norm = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.depthwise = nn.Conv2d(8, 8, 3, 1, 1, groups=8, bias=bias)
        self.squeeze, self.excite = nn.Conv2d(8, 4, 1, bias=bias), nn.Conv2d(4, 8, 1, bias=bias)
        self.head = nn.Linear(8, 5, bias=bias)
        nn.init.uniform_(self.norm.running_var, 0.5, 2.0)
        nn.init.uniform_(self.norm.weight, -1.0, 2.0)
        if bias:
            nn.init.normal_(self.norm.running_mean)
            nn.init.normal_(self.norm.bias)
        self.eval()

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.relu(self.norm(self.stem(x))))
        x = x + torch.relu(self.depthwise(x))
        gate = torch.sigmoid(self.excite(torch.relu(self.squeeze(x.mean((2, 3), keepdim=True)))))
        x = x * gate
        return self.head(nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))


def seeded(make: type[nn.Module], *args: object, seed: int = 0) -> nn.Module:
    """A net with weights drawn from a seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make(*args)


def images(number: int, side: int = 12, channels: int = 3, seed: int = 0) -> Tensor:
    """Uniform noise."""
    return torch.rand(number, channels, side, side, generator=torch.Generator().manual_seed(seed))


def shares(
    a: np.ndarray,
    w: np.ndarray,
    relevance: np.ndarray,
    rule: str,
    bias: np.ndarray | None = None,
    gamma: float = 0.25,
    alpha: float = 2.0,
    low: float = 0.0,
    high: float = 1.0,
) -> np.ndarray:
    """Relevance of the inputs ``a`` (J,) of ``w`` (K, J), one pair of input and output after the other."""
    found = np.zeros(len(a))
    for k in range(len(w)):
        c = [a[j] * w[k, j] for j in range(len(a))]
        b = 0.0 if bias is None else bias[k]
        z, up, down = sum(c) + b, sum(max(v, 0) for v in c), sum(min(v, 0) for v in c)
        box = [v - low * max(w[k, j], 0) - high * min(w[k, j], 0) for j, v in enumerate(c)]
        for j, v in enumerate(c):
            if rule == "epsilon":
                share = v / z
            elif rule == "z_plus":
                share = max(v, 0) / up
            elif rule == "alpha_beta":
                share = alpha * max(v, 0) / up - (alpha - 1) * min(v, 0) / down if down else max(v, 0) / up
            elif rule == "gamma":
                raised = max(v, 0) if z >= 0 else min(v, 0)
                total = z + gamma * (up + max(b, 0) if z >= 0 else down + min(b, 0))
                share = (v + gamma * raised) / total
            elif rule == "z_box":
                share = box[j] / sum(box)
            elif rule == "flat":
                share = 1 / len(a)
            else:
                share = w[k, j] ** 2 / sum(w[k] ** 2)
            found[j] += share * relevance[k]
    return found
