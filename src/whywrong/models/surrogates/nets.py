"""Small architectures of surrogates, for any input size and number of classes.

Different architectures make different mistakes, so their average points more nearly where the black box does. All
take images in [0, 1] and reduce them to feature maps of about 8 x 8 before the last layer.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from whywrong.core.errors import InputError

Shape = tuple[int, int, int]  # (C, H, W) of the images


class Plain(nn.Sequential):
    """Convolutions with batch normalisation, without skip connections (as Simonyan and Zisserman 2015)."""

    def __init__(self, shape: Shape, classes: int) -> None:
        inner = [_convolution(24, 64, 2), _convolution(64, 96, 2), _convolution(96, 96, 1)]
        super().__init__(*_stem(shape, 24), *inner, *_head(96, classes))


class PreActivation(nn.Module):
    """Residual block with normalisation first (He et al. 2016, arXiv 1603.05027)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        same = stride == 1 and inputs == outputs
        self.short = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.conv1(torch.relu(self.norm1(x)))
        return self.conv2(torch.relu(self.norm2(inner))) + self.short(x)


class Residual(nn.Sequential):
    """Three residual blocks of growing width."""

    def __init__(self, shape: Shape, classes: int) -> None:
        blocks = [PreActivation(16, 48, 2), PreActivation(48, 80, 2), PreActivation(80, 80, 1)]
        super().__init__(*_stem(shape, 16), *blocks, nn.BatchNorm2d(80), nn.ReLU(), *_head(80, classes))


class Patches(nn.Sequential):
    """Patches of 4 x 4 positions, mixed by residual convolutions at one resolution."""

    def __init__(self, shape: Shape, classes: int) -> None:
        patches = nn.Sequential(nn.Conv2d(16, 96, 4, 4, bias=False), nn.BatchNorm2d(96), nn.ReLU(inplace=True))
        blocks = [PreActivation(96, 96, 1), PreActivation(96, 96, 1)]
        super().__init__(*_stem(shape, 16), patches, *blocks, nn.BatchNorm2d(96), nn.ReLU(), *_head(96, classes))


NETS: dict[str, Callable[[Shape, int], nn.Module]] = {"plain": Plain, "residual": Residual, "patches": Patches}


class Ensemble(nn.Module):
    """Average of the log-softmax of several networks.

    Args:
        names: Architectures, names in ``NETS``; one may occur several times.
        shape: (C, H, W) of the images.
        classes: Number of classes, K.
    """

    def __init__(self, names: Sequence[str], shape: Shape, classes: int) -> None:
        super().__init__()
        check_nets(names)
        self.members = nn.ModuleList([NETS[name](shape, classes) for name in names])

    def forward(self, x: Tensor) -> Tensor:
        """Map images (B, C, H, W) in [0, 1] to log-probabilities (B, K), not normalised."""
        centred = 4 * x - 2
        return torch.stack([member(centred).log_softmax(1) for member in self.members]).mean(0)


def check_nets(names: Sequence[str]) -> None:
    """Check names of architectures.

    Raises:
        InputError: There are none, or one is unknown; the message lists all.
    """
    if not names:
        raise InputError(f"nets must name at least one of {', '.join(NETS)}")
    for name in names:
        if name not in NETS:
            near = difflib.get_close_matches(name, list(NETS), n=1)
            hint = f'; nearest: "{near[0]}"' if near else ""
            raise InputError(f'nets: no architecture "{name}"; there are {", ".join(NETS)}{hint}')


def _stem(shape: Shape, width: int) -> list[nn.Module]:
    """Reduce large images by strided convolutions to at most 48 pixels a side, at full resolution below that."""
    channels, side = shape[0], min(shape[1:])
    layers: list[nn.Module] = [_convolution(channels, width, 1 if side <= 48 else 2)]
    side = side if side <= 48 else side // 2
    while side > 48:
        layers.append(_convolution(width, width, 2))
        side //= 2
    return layers


def _convolution(inputs: int, outputs: int, stride: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


def _head(width: int, classes: int) -> list[nn.Module]:
    return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, classes)]
