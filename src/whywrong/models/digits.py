"""A small convolutional network for the demo's handwritten digits, and its training."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class DigitsNet(nn.Module):
    """Four convolutions, global average pooling, one linear layer: grey digits (B, 1, 32, 32) in [0, 1] to (B, 10).

    The pooling before the last layer makes its class activation maps exact.
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inputs, outputs, stride in ((1, 16, 1), (16, 32, 2), (32, 48, 2), (48, 64, 1)):
            layers += [nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        self.features = nn.Sequential(*layers)  # (B, 64, 8, 8)
        self.head = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean((2, 3)))


def train_digits_net(x: Tensor, y: Tensor, *, epochs: int = 12, seed: int = 0) -> DigitsNet:
    """Train on labelled digits with Adam; one seed gives one network on one machine.

    Args:
        x: (N, 1, 32, 32), float32, in [0, 1].
        y: (N,), int64, in 0..9.
        epochs: Times each digit is shown.
        seed: Seeds weights and order, without touching global generators.

    Returns:
        The network in evaluation mode.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):  # building draws from the global generator; the weights are drawn below
        net = DigitsNet()
    for part in net.modules():
        if isinstance(part, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(part.weight, nonlinearity="relu", generator=generator)
    nn.init.zeros_(net.head.bias)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    for _ in range(epochs):
        for rows in torch.randperm(len(x), generator=generator).split(32):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
            optimizer.step()
        schedule.step()
    return net.eval()
