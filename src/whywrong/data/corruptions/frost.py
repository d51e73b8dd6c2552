"""Frost corruption, rendered ice on the glass instead of photographs.

Source: Hendrycks and Dietterich 2019, arXiv 1903.12261, section 3, who mix the image with crops of five photographs of
frost. Here the ice is rendered, as grains of feathered crystals, each with its own direction, over a plasma fractal.
Its colours and contrast alternate like those of the photographs, so that the mean change of the image is the same; the
texture is not.
"""

from __future__ import annotations

import torch
from torch import Tensor

from whywrong.core.randomness import keyed_uniform
from whywrong.data.corruptions.filters import grey
from whywrong.data.corruptions.weather import plasma

# mean red, green, blue, standard deviation, and the share of feathers (the rest is cloud) of each look
_LOOKS = (
    (0.305, 0.585, 0.650, 0.070, 0.35),  # a thin film on bluish glass
    (0.787, 0.805, 0.841, 0.085, 0.65),  # white, broken plates; twice as frequent as the others
    (0.787, 0.805, 0.841, 0.085, 0.85),
    (0.540, 0.599, 0.648, 0.114, 0.50),  # frozen drops
    (0.441, 0.484, 0.529, 0.168, 1.00),  # feathers on a dark pane
)
_GRAIN = 38.0  # pixels of a photograph between two grains


def frost(x: Tensor, keys: Tensor, kept: float, ice: float, shrink: float) -> Tensor:
    """Mix the image with rendered frost.

    The result is ``kept`` of the image plus ``ice`` of the frost, at ``shrink`` of a photograph's size.
    """
    look = torch.tensor(_LOOKS, device=x.device, dtype=x.dtype)
    look = look[torch.floor(keyed_uniform(keys, (1,))[:, 0] * len(_LOOKS)).long()]  # (B, 5)
    pattern = crystals(keys, *x.shape[-2:], shrink=shrink, feathers=look[:, 4])[:, None]
    layer = (look[:, :3, None, None] + look[:, 3, None, None, None] * pattern).clamp(0, 1)
    return kept * x + ice * (grey(layer) if x.shape[1] == 1 else layer)


def crystals(keys: Tensor, height: int, width: int, shrink: float, feathers: Tensor) -> Tensor:
    """Render a texture of ice.

    Returns (B, H, W), of mean 0 and standard deviation 1 in each image.

    Args:
        keys: Key of each image, (B,).
        height: Pixels.
        width: Pixels.
        shrink: Size of the texture; 1 is that of a photograph of frost at 224 pixels.
        feathers: Share of feathered crystals in each image, (B,), 0 to 1; the rest is cloud.
    """
    side = max(height, width)
    cloud = plasma(keys, side, 1.6, draw=10_000)[:, :height, :width]
    rough = plasma(keys, side, 1.25, draw=20_000)[:, :height, :width]
    # the clouds bend spines and barbs a little
    rows = torch.arange(height, device=keys.device)[:, None] / shrink + 30 * (cloud - 0.5)
    columns = torch.arange(width, device=keys.device)[None, :] / shrink + 30 * (0.5 - cloud)
    across, along, shade = _grains(keys, rows, columns, height / shrink, width / shrink)
    spine = torch.exp(-across / 2.0)
    pitch = 5.0 + 6.0 * shade  # pixels between two barbs
    phase = (along - 0.8 * across) / pitch + 1.6 * rough
    barb = (0.5 + 0.5 * torch.cos(2 * torch.pi * phase)) ** 2 * torch.exp(-across / 16)
    feather = (0.9 * spine + 1.1 * barb) * (0.25 + 1.1 * rough) + 0.45 * shade + 0.7 * rough
    share = feathers[:, None, None]
    return _standardised(share * feather + (1.3 - share) * cloud + (1.1 - share) * rough)


def _grains(keys: Tensor, rows: Tensor, columns: Tensor, height: float, width: float) -> tuple[Tensor, Tensor, Tensor]:
    """Find the position of every pixel in its grain, across and along its spine, and the grain's shade."""
    count = max(10, min(96, round(height * width / _GRAIN**2)))
    draw = keyed_uniform(keys, (5, count), draw=30_000)
    angle = 2 * torch.pi * draw[:, 2]
    sine, cosine = torch.sin(angle), torch.cos(angle)
    top, left = (1.2 * draw[:, 0] - 0.1) * height, (1.2 * draw[:, 1] - 0.1) * width
    forward = torch.stack([cosine, sine, -top * cosine - left * sine], 2)  # (B, N, 3), linear in row and column
    sideways = torch.stack([-sine, cosine, top * sine - left * cosine], 2)
    best = torch.full_like(rows, torch.inf)
    grain = torch.zeros_like(rows, dtype=torch.long)
    for candidate in range(count):
        along = _linear(forward[:, candidate, :, None, None], rows, columns)
        far = _linear(sideways[:, candidate, :, None, None], rows, columns).abs_()
        # a grain is long and narrow, and extends forward from its seed
        far.add_(torch.maximum(0.22 * along, -1.5 * along)).add_(12 * draw[:, 3, candidate, None, None])
        closer = far < best
        best = torch.minimum(best, far)
        grain.masked_fill_(closer, candidate)

    def of_grain(value: Tensor) -> Tensor:
        return value.gather(1, grain.flatten(1)).view(rows.shape)

    along = of_grain(forward[..., 0]) * rows + of_grain(forward[..., 1]) * columns + of_grain(forward[..., 2])
    across = of_grain(sideways[..., 0]) * rows + of_grain(sideways[..., 1]) * columns + of_grain(sideways[..., 2])
    return across.abs(), along, of_grain(draw[:, 4])


def _linear(weights: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    return torch.addcmul(weights[:, 2], weights[:, 0], rows).addcmul_(weights[:, 1], columns)


def _standardised(x: Tensor) -> Tensor:
    """Standardise each image to mean 0 and standard deviation 1.

    Sums are of whole numbers, so that the order of adding does not matter.
    """
    units = torch.round(x * 4096).long()
    count = x[0].numel()
    mean = units.sum((1, 2), keepdim=True) / count
    deviation = ((units**2).sum((1, 2), keepdim=True) / count - mean**2).clamp(min=1).sqrt()
    return ((units - mean) / deviation).to(x.dtype)
