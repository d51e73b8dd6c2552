"""Three small classifiers, a counter of true queries, and a snapshot of all that must stay as it was."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from whywrong.core.randomness import keyed_uniform, row_keys

CLASSES = 4
SIZE = 16
# Settings that keep a method short, which takes thousands of passes otherwise: what is asked of it here does not depend
# on how often it looks.
SHORT: dict[str, dict[str, Any]] = {"profiles": {"max_passes": 400, "contexts": 2}}


class Gap(nn.Module):
    """Convolutions with batch normalisation, an in-place ReLU used twice, mean over places, one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8)
        self.conv2, self.bn2 = nn.Conv2d(8, 12, 3, 2, 1), nn.BatchNorm2d(12)
        self.relu = nn.ReLU(inplace=True)
        self.head = nn.Linear(12, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        return self.head(x.mean((2, 3)))


class Flat(nn.Module):
    """Convolutions, max pooling and two dense layers, with functional ReLUs."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 6, 3, 1, 1), nn.Conv2d(6, 8, 3, 1, 1)
        self.dense1, self.dense2 = nn.Linear(8 * 16, 16), nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.max_pool2d(torch.relu(self.conv1(x)), 2)
        x = nn.functional.max_pool2d(torch.relu(self.conv2(x)), 2)
        return self.dense2(torch.relu(self.dense1(x.flatten(1))))


class Tokens(nn.Module):
    """Patches of 4 x 4 pixels, a class token, two transformer layers."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 16, 4, 4)
        self.cls = nn.Parameter(torch.randn(1, 1, 16) * 0.1)
        self.places = nn.Parameter(torch.randn(1, 17, 16) * 0.1)
        layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls.expand(len(x), -1, -1), tokens], 1) + self.places
        return self.head(self.layers(tokens)[:, 0])


NETS: dict[str, Callable[[], nn.Module]] = {"gap": Gap, "flat": Flat, "tokens": Tokens}


def build(name: str, seed: int = 0) -> nn.Module:
    """The net with weights of its own seed, in evaluation mode; the global generator stays as it was.

    The last layer is scaled and centred, so that logits spread over a few units and every class is predicted at times.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = NETS[name]().eval()
    with torch.no_grad():
        if isinstance(net, Gap):
            for norm in (net.bn1, net.bn2):  # as after training: statistics and scales of every channel differ
                norm.running_mean.copy_(0.1 * _noise(norm.running_mean.shape, 1))
                norm.running_var.copy_(0.2 + 0.1 * _noise(norm.running_var.shape, 2).abs())
                norm.weight.copy_(1 + 0.3 * _noise(norm.weight.shape, 3))
                norm.bias.copy_(0.3 * _noise(norm.bias.shape, 4))
        head = list(net.modules())[-1]
        assert isinstance(head, nn.Linear)
        logits = net(images(64))
        scale = 2 / logits.std(0)
        head.weight.mul_(scale[:, None])
        head.bias.copy_((head.bias - logits.mean(0)) * scale)
    return net


def images(batch: int, seed: int = 0) -> Tensor:
    """(batch, 3, 16, 16) in [0, 1]: smooth blobs with a little noise."""
    keys = row_keys(seed, batch)
    coarse = nn.functional.interpolate(keyed_uniform(keys, (3, 4, 4)), (SIZE, SIZE), mode="bilinear")
    return (coarse + 0.1 * (keyed_uniform(keys, (3, SIZE, SIZE), 1) - 0.5)).clamp(0, 1)


def _noise(shape: Any, seed: int) -> Tensor:
    return 2 * keyed_uniform(row_keys(seed, 1), tuple(shape))[0] - 1


class _Tally(torch.autograd.Function):
    """Identity on the logits that counts the rows of every backward pass."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, counter: Counting) -> Tensor:
        ctx.counter = counter
        return logits.view_as(logits)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        ctx.counter.backwards += len(grads[0])
        return grads[0], None


class Counting(nn.Module):
    """Counts what reaches a net, and notes the range of the pixels it is shown."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.reset()

    def reset(self) -> None:
        self.forwards = self.backwards = 0
        self.low, self.high = 1.0, 0.0

    def forward(self, x: Tensor) -> Tensor:
        self.forwards += len(x)
        if len(x):
            self.low, self.high = min(self.low, float(x.detach().min())), max(self.high, float(x.detach().max()))
        return _Tally.apply(self.net(x), self)  # type: ignore[return-value]


class Raising(nn.Module):
    """Answers the first passes, then raises, in the middle of the net."""

    def __init__(self, net: nn.Module, passes: int) -> None:
        super().__init__()
        self.net, self.left = net, passes

    def forward(self, x: Tensor) -> Tensor:
        logits = self.net(x)
        self.left -= 1
        if self.left < 0:
            raise ValueError("worn out")
        return logits


def snapshot(module: nn.Module, *tensors: Tensor) -> dict[str, Any]:
    """Everything that a method must leave as it was, in a form that compares with ==."""
    hooks = (
        "_forward_hooks",
        "_forward_pre_hooks",
        "_forward_hooks_with_kwargs",
        "_forward_pre_hooks_with_kwargs",
        "_backward_hooks",
        "_backward_pre_hooks",
    )
    return {
        "modes": [part.training for part in module.modules()],
        "hooks": [[len(getattr(part, name)) for name in hooks] for part in module.modules()],
        "flags": [p.requires_grad for p in module.parameters()],
        "grads": [None if p.grad is None else p.grad.tolist() for p in module.parameters()],
        "weights": {name: value.tolist() for name, value in module.state_dict().items()},
        "tensors": [t.tolist() for t in tensors],
        "tensor flags": [(t.requires_grad, t.grad is None) for t in tensors],
        "torch generator": torch.get_rng_state().tolist(),
        "numpy generator": np.random.get_state()[1].tolist(),  # noqa: NPY002 - the global one is what must not move
        "python generator": random.getstate(),
        "gradients on": torch.is_grad_enabled(),
        "type": torch.get_default_dtype(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }
