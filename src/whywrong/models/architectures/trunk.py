"""Convolutions that turn images into feature maps and primary capsules, for any input size that they fit."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from whywrong.core.errors import InputError
from whywrong.models.architectures.architecture import Architecture
from whywrong.models.architectures.routing import squash

_PUBLISHED = {  # kernels and strides of the two convolutions, channels of the first
    "gracapsnet": ((3, 1), (3, 2), 256),
}
_SABOUR = ((9, 1), (9, 2), 256)


@dataclass(frozen=True, slots=True)
class Conv:
    """One convolution: channels out, kernel, stride, padding."""

    channels: int
    kernel: int
    stride: int
    padding: int = 0

    def after(self, side: int) -> int:
        """Return the side of its output for an input side, below 1 if that is too small."""
        return (side + 2 * self.padding - self.kernel) // self.stride + 1


def trunk_layers(plan: Architecture, channels: int) -> list[Conv]:
    """List the convolutions of a network, of which the last has ``channels`` channels."""
    if plan.layout == "published":
        first, last, width = _PUBLISHED.get(plan.family, _SABOUR)
        return [Conv(width, *first), Conv(channels, *last)]
    side, layers = min(plan.shape[1:]), []
    while side > 8 or not layers:
        width = plan.width * min(2 ** len(layers), 4)
        kernel = 3 if layers else 5
        layers.append(Conv(width, kernel, 2 if side > 8 else 1, kernel // 2))
        side = layers[-1].after(side)
    return [*layers, Conv(channels, 3, 2, 1)]


def map_shape(plan: Architecture, layers: list[Conv]) -> tuple[int, int]:
    """Compute height and width of the last feature map.

    Raises:
        InputError: The images are too small for the convolutions.
    """
    height, width = plan.shape[1:]
    for layer in layers:
        height, width = layer.after(height), layer.after(width)
        if min(height, width) < 1:
            raise InputError(
                f"images of {plan.shape[1]} x {plan.shape[2]} pixels are too small for the {plan.layout} layers of "
                f'{plan.family}: give larger images, or layout="compact"'
            )
    return height, width


class Trunk(nn.Module):
    """Convolutions from images (B, C, H, W) in [0, 1] to feature maps (B, channels, h, w).

    All but the last are followed by ReLU, and by batch normalisation in the compact layout.

    Attributes:
        shape: (C, H, W) of the images.
        size: (h, w).
    """

    def __init__(self, plan: Architecture, channels: int) -> None:
        super().__init__()
        convolutions = trunk_layers(plan, channels)
        layers: list[nn.Module] = []
        before = plan.shape[0]
        for index, layer in enumerate(convolutions):
            last = index + 1 == len(convolutions)
            norm = plan.layout == "compact"
            layers.append(
                nn.Conv2d(before, layer.channels, layer.kernel, layer.stride, layer.padding, bias=last or not norm)
            )
            if not last:
                layers += [nn.BatchNorm2d(layer.channels), nn.ReLU()] if norm else [nn.ReLU()]
            before = layer.channels
        self.layers = nn.Sequential(*layers)
        self.shape, self.size = plan.shape, map_shape(plan, convolutions)

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 4 or tuple(x.shape[1:]) != self.shape:
            raise InputError(f"this network takes images (B, {', '.join(map(str, self.shape))}), got {tuple(x.shape)}")
        return self.layers(x)


class PrimaryCapsules(nn.Module):
    """Primary capsules (B, types, positions, d) from images, one per type and position of the last feature map.

    Attributes:
        size: (h, w) of the positions, in rows.
    """

    def __init__(self, plan: Architecture, *, squashed: bool = True) -> None:
        super().__init__()
        self.trunk = Trunk(plan, plan.types * plan.primary)
        self.types, self.squashed, self.size = plan.types, squashed, self.trunk.size

    def forward(self, x: Tensor) -> Tensor:
        grouped = self.trunk(x).unflatten(1, (self.types, -1)).flatten(3).transpose(2, 3)
        return squash(grouped) if self.squashed else grouped.float()
