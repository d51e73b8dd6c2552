"""Weather corruptions (snow, fog, brightness), and the plasma fractal.

Source: Hendrycks and Dietterich 2019, arXiv 1903.12261, section 3. Frost and spatter have modules of their own.
"""

from __future__ import annotations

import torch
from torch import Tensor

from whywrong.core.randomness import keyed_normal, keyed_uniform
from whywrong.data.corruptions.blur import motion_filter
from whywrong.data.corruptions.filters import clipped_zoom, cut_to_levels, grey, zoom_window


def snow(x: Tensor, keys: Tensor, *strength: float) -> Tensor:
    """Whiten the image and add snowflakes in two directions.

    The strength is (``level``, ``spread``, ``size``, ``threshold``, ``radius``, ``sigma``, ``kept``). Flakes are normal
    noise (mean ``level``, standard deviation ``spread``), enlarged ``size`` times and kept above ``threshold``. Wind
    blurs them (``radius``, ``sigma`` pixels) along an angle drawn from -135 to -45 degrees. ``kept`` is the share of
    the image that is not whitened.
    """
    level, spread, size, threshold, radius, sigma, kept = strength
    height, width = x.shape[-2:]
    noise = level + spread * keyed_normal(keys, (1, zoom_window(height, size), zoom_window(width, size)))
    flakes = clipped_zoom(noise, size, height, width)
    flakes = flakes.masked_fill(flakes < threshold, 0.0)
    angle = 90 * keyed_uniform(keys, (1,), draw=1)[:, 0] - 135
    flakes = motion_filter(cut_to_levels(flakes), angle, int(radius), sigma)
    flakes = torch.round(flakes * 255) / 255
    white = torch.maximum(x, grey(x) * 1.5 + 0.5)
    return kept * x + (1 - kept) * white + flakes + flakes.flip(2, 3)


def fog(x: Tensor, keys: Tensor, thickness: float, smoothness: float) -> Tensor:
    """Add ``thickness`` times a plasma fractal.

    The result is scaled to keep the maximum brightness of the image.
    """
    height, width = x.shape[-2:]
    clouds = plasma(keys, max(height, width), smoothness)[:, None, :height, :width]
    brightest = x.amax((1, 2, 3), keepdim=True)
    return (x + thickness * clouds) * brightest / (brightest + thickness)


def plasma(keys: Tensor, side: int, smoothness: float, draw: int = 0) -> Tensor:
    """Draw plasma fractals by the diamond-square algorithm on a torus.

    Returns heights (B, S, S) in [0, 1], S the next power of two from ``side``.

    Each time the step is halved, the amplitude of the random part is divided by ``smoothness`` squared, since the
    reference multiplies a uniform number, itself as large as the amplitude, by the amplitude.
    """
    size = step = 1 << (side - 1).bit_length()
    heights = torch.zeros(len(keys), size, size, device=keys.device)
    amplitude = 100.0 * 100.0
    while step >= 2:
        half, count = step // 2, size // step
        random = amplitude * (2 * keyed_uniform(keys, (3, count, count), draw=draw + step) - 1)
        corner = heights[:, ::step, ::step]
        beside = corner + corner.roll(-1, 1)
        middle = (beside + beside.roll(-1, 2)) / 4 + random[:, 0]
        heights[:, half::step, half::step] = middle
        upper = (middle + middle.roll(1, 1) + corner + corner.roll(-1, 2)) / 4 + random[:, 1]
        left = (middle + middle.roll(1, 2) + corner + corner.roll(-1, 1)) / 4 + random[:, 2]
        heights[:, ::step, half::step] = upper
        heights[:, half::step, ::step] = left
        step, amplitude = half, amplitude / smoothness**2
    heights -= heights.amin((1, 2), keepdim=True)
    return heights / heights.amax((1, 2), keepdim=True)


def brightness(x: Tensor, keys: Tensor, shift: float) -> Tensor:
    """Raise the value of HSV by ``shift``, at the same hue and saturation."""
    del keys
    value = x.amax(1, keepdim=True)
    raised = (value + shift).clamp(0, 1)
    # with hue and saturation fixed the channels keep their ratios; black has none, and becomes grey
    return torch.where(value > 0, x * (raised / value.clamp(min=1 / 255)), raised)
