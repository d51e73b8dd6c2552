"""Small models whose robustness is known."""

from __future__ import annotations

import torch
from torch import nn

from whywrong.core.input_spec import InputSpec
from whywrong.core.randomness import row_keys
from whywrong.explain.robustness.config import RobustnessConfig
from whywrong.explain.robustness.parts import RowCall
from whywrong.models.classifier import Classifier

SIDE = 32


class Brightness(nn.Module):
    """Two classes: whether a window of the image is bright on average."""

    def __init__(self, rows: slice = slice(None), cols: slice = slice(None), gain: float = 10.0) -> None:
        super().__init__()
        self.rows, self.cols, self.gain = rows, cols, gain

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        z = self.gain * (x[:, :, self.rows, self.cols].mean((1, 2, 3)) - 0.5)
        return torch.stack([-z, z], 1)


class Constant(nn.Module):
    """Always the first class, whatever the image; gradients exist and are zero."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1).sum(1, keepdim=True) * 0 + x.new_tensor([1.0, 0.0])


def model(net: nn.Module, identity: str = "") -> Classifier:
    spec = InputSpec(height=SIDE, width=SIDE)
    return Classifier(net, classes=["dark", "bright"], preprocess=spec, identity=identity or None)


def images(count: int = 8) -> tuple[torch.Tensor, torch.Tensor]:
    """Plain images at 0.3 and 0.7, and their classes."""
    y = torch.arange(count) % 2
    x = (0.3 + 0.4 * y.float()).view(-1, 1, 1, 1).expand(-1, 3, SIDE, SIDE).contiguous()
    return x, y


def call(models, own: int = 0, *, side: int = 8, token: int = 0, count: int = 8, x=None, y=None, **settings) -> RowCall:
    given, labels = images(count) if x is None else (x, y)
    return RowCall(
        models=models,
        own=own,
        x=given,
        y=labels,
        keys=row_keys(3, len(given)),
        config=RobustnessConfig(**settings),
        side=side,
        token=token,
    )
