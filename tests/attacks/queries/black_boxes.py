"""Black boxes of the tests, which count what they are asked and misbehave on request."""

from __future__ import annotations

from collections.abc import Callable

import torch
from tests.attacks.attack_nets import SmallNet
from torch import Tensor

CLASSES = 5


class Asked:
    """A callable that keeps every image it is asked, and answers logits, possibly changed by ``told``."""

    def __init__(self, net: Callable[[Tensor], Tensor], told: Callable[[Tensor], Tensor] = lambda logits: logits):
        self.net, self.told = net, told
        self.images: list[Tensor] = []

    def __call__(self, x: Tensor) -> Tensor:
        self.images += list(x.clone())
        with torch.no_grad():
            return self.told(self.net(x))

    @property
    def grid(self) -> Tensor:
        """Everything asked, (n, C, H, W)."""
        return torch.stack(self.images)


def errors(n: int, seed: int = 0) -> tuple[SmallNet, Tensor, Tensor]:
    """A small net, images of whole grey levels, and the class that comes second in each of them."""
    net = SmallNet(seed)
    draw = torch.Generator().manual_seed(seed + 1)
    x = (torch.rand((n, 3, 8, 8), generator=draw) * 255).round() / 255
    with torch.no_grad():
        return net, x, net(x).argsort(1, descending=True)[:, 1]
