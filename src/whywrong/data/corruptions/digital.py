"""Digital corruptions (contrast, saturation, elastic deformation, pixelation, JPEG).

Source: Hendrycks and Dietterich 2019, arXiv 1903.12261, section 3.
"""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from whywrong.core.randomness import keyed_uniform
from whywrong.data.corruptions.filters import fold_half, fold_whole, gaussian_matrix, sample


def contrast(x: Tensor, keys: Tensor, factor: float) -> Tensor:
    """Multiply the distance of every value to its channel's mean by ``factor``."""
    del keys
    # whole numbers are summed exactly in any order, so the mean does not depend on the batch
    mean = torch.round(x.double() * 255).sum((2, 3), keepdim=True) / (255 * x.shape[2] * x.shape[3])
    mean = mean.to(x.dtype)
    return (x - mean) * factor + mean


def saturate(x: Tensor, keys: Tensor, factor: float, shift: float) -> Tensor:
    """Multiply the saturation of HSV by ``factor`` and add ``shift``.

    A single channel has no saturation and is unchanged.

    Grey pixels have hue 0, so that a shift turns them reddish, as in the reference.
    """
    del keys
    if x.shape[1] == 1:
        return x
    value, lowest = x.amax(1, keepdim=True), x.amin(1, keepdim=True)
    depth = value - lowest
    saturation = torch.where(value > 0, depth / value.clamp(min=1 / 255), 0.0)
    red = torch.tensor([0.0, 1.0, 1.0], device=x.device, dtype=x.dtype).view(1, 3, 1, 1)
    away = torch.where(
        depth > 0, (value - x) / depth.clamp(min=1 / 255), red
    )  # 0 in the largest channel, 1 in the smallest
    return value * (1 - (saturation * factor + shift).clamp(0, 1) * away)


def elastic_transform(x: Tensor, keys: Tensor, amplitude: float, sigma: float, affine: float) -> Tensor:
    """Deform images by a random affine map and a smooth random displacement.

    Three points around the centre move by up to ``affine`` pixels. The displacement is uniform noise in [-1, 1] that is
    blurred by ``sigma`` pixels and multiplied by ``amplitude``.
    """
    height, width = x.shape[-2:]
    rows = torch.arange(height, device=x.device, dtype=torch.float64)[:, None]
    columns = torch.arange(width, device=x.device, dtype=torch.float64)[None, :]
    a = _inverse_affine(keys, height, width, affine)[..., None, None]  # (B, 2, 3, 1, 1)
    source = [a[:, i, 0] * columns + a[:, i, 1] * rows + a[:, i, 2] for i in range(2)]
    # the reference warps in steps of 1/32 pixel
    source_columns, source_rows = ((torch.round(position * 32) / 32).to(x.dtype) for position in source)
    x = sample(x, source_rows, source_columns, fold_whole)
    if amplitude == 0:
        return x
    noise = 2 * keyed_uniform(keys, (2, height, width), draw=1).double() - 1
    smooth_rows = gaussian_matrix(height, sigma, 3.0, x.device)
    smooth_columns = gaussian_matrix(width, sigma, 3.0, x.device)
    shift = amplitude * (smooth_rows @ noise @ smooth_columns.T)
    return sample(x, (rows + shift[:, 0]).to(x.dtype), (columns + shift[:, 1]).to(x.dtype), fold_half)


def _inverse_affine(keys: Tensor, height: int, width: int, affine: float) -> Tensor:
    """Return affine maps (B, 2, 3) float64 from a pixel (column, row, 1) of the result to its origin (column, row)."""
    reach, across, down = min(height, width) // 3, width // 2, height // 2
    corners = [[across + reach, down + reach], [across + reach, down - reach], [across - reach, down - reach]]
    before = torch.tensor(corners, dtype=torch.float64, device=keys.device)
    after = before + affine * (2 * keyed_uniform(keys, (3, 2)).double() - 1)
    first, second = after[:, 0] - after[:, 2], after[:, 1] - after[:, 2]  # two sides of the moved triangle
    area = first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
    # rows: barycentric weights of corners 0 and 1 as functions of the position relative to corner 2
    weights = torch.stack([second[:, 1], -second[:, 0], -first[:, 1], first[:, 0]], 1).view(-1, 2, 2)
    weights = weights / area[:, None, None]
    sides = torch.stack([before[0] - before[2], before[1] - before[2]], 1)  # (2, 2), one column per side
    linear = (sides[None, :, :, None] * weights[:, None]).sum(2)
    offset = before[2] - (linear * after[:, None, 2]).sum(2)
    return torch.cat([linear, offset[..., None]], 2)


def pixelate(x: Tensor, keys: Tensor, factor: float) -> Tensor:
    """Shrink to ``factor`` of the size by box averages and repeat pixels.

    The result has the original size.
    """
    del keys
    levels = torch.round(x * 255).long()
    for dim in (3, 2):  # rounded to whole levels after each direction, as Pillow does
        levels = _box_shrink(levels, int(x.shape[dim] * factor), dim)
    for dim in (2, 3):
        target = torch.arange(x.shape[dim], device=x.device, dtype=torch.float64) + 0.5
        levels = levels.index_select(dim, (target * (levels.shape[dim] / x.shape[dim])).long())
    return levels.to(x.dtype) / 255


def _box_shrink(levels: Tensor, size: int, dim: int) -> Tensor:
    """Average whole pixels in ``size`` boxes along a side, rounded to whole levels."""
    scale = levels.shape[dim] / size
    centre = (torch.arange(size, device=levels.device, dtype=torch.float64) + 0.5) * scale
    start = (centre - scale / 2 + 0.5).long().clamp(min=0)
    stop = (centre + scale / 2 + 0.5).long().clamp(max=levels.shape[dim])
    # if a box ends exactly in the middle of a pixel, Pillow's own rounding decides to which box the pixel belongs
    start = start + ((start - centre + 0.5) * (1 / scale) <= -0.5).long()
    stop = stop - ((stop - 1 - centre + 0.5) * (1 / scale) > 0.5).long()
    before = torch.cat([torch.zeros_like(levels.narrow(dim, 0, 1)), levels.cumsum(dim)], dim)
    total = before.index_select(dim, stop) - before.index_select(dim, start)
    count = (stop - start).view([-1 if i == dim else 1 for i in range(4)])
    return torch.floor(total / count + 0.5).long()


def jpeg_compression(x: Tensor, keys: Tensor, quality: float) -> Tensor:
    """Encode as JPEG of ``quality`` (1 to 95) and decode again."""
    del keys
    levels = torch.round(x * 255).to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()
    if x.shape[1] == 1:
        levels = levels[..., 0]
    decoded = np.stack([_through_jpeg(image, int(quality)) for image in levels])
    decoded = torch.from_numpy(decoded).view(len(x), *x.shape[2:], x.shape[1]).permute(0, 3, 1, 2)
    return decoded.to(x.device, x.dtype) / 255


def _through_jpeg(levels: np.ndarray, quality: int) -> np.ndarray:
    with io.BytesIO() as stream:
        Image.fromarray(levels).save(stream, "JPEG", quality=quality)
        return np.array(Image.open(stream))
