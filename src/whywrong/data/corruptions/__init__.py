"""The 15 + 4 image corruptions of ImageNet-C, at severities 1 to 5.

    damaged = corrupt(x, "fog", 3, keys=row_keys(seed=0, batch=len(x)))

Source: Hendrycks and Dietterich 2019, "Benchmarking neural network robustness to common corruptions and perturbations",
arXiv 1903.12261, and the strengths of its scripts. The whole batch is computed at once. Every image has its own key, so
that its result is the same in any batch.

**Which strengths.** Tables are published for 224, 64 and 32 pixels. Without ``scale``, the longer side selects the
table: CIFAR-10-C up to 48 pixels, Tiny-ImageNet-C up to 96 pixels, otherwise ImageNet-C. Lengths in a table are pixels,
whatever the size of the image.

**Differences from the reference.** Motion blur follows the formula of ImageMagick. Frost is rendered, not photographed.
Distances in water drops are exact, not chamfer distances. Images need not be square; a single channel is a grey
photograph. Everything else follows the published formulas, including the truncation to whole grey levels. Random
numbers differ, so compare distributions, not pixels.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from whywrong.core.checks import bad_rows, check_images
from whywrong.core.errors import InputError
from whywrong.core.randomness import keyed_bits
from whywrong.data.corruptions import blur, digital, noise, weather
from whywrong.data.corruptions.constants import SCALES, STRENGTHS, Scale, nearest_scale
from whywrong.data.corruptions.filters import cut_to_levels
from whywrong.data.corruptions.frost import frost
from whywrong.data.corruptions.spatter import spatter

__all__ = ["KINDS", "SCALES", "SEVERITIES", "Scale", "corrupt"]

SEVERITIES = (1, 2, 3, 4, 5)
SIDES = (32, 512)  # pixels, shortest and longest side

# The position of a kind is mixed into the keys: append, never reorder.
_FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "gaussian_noise": noise.gaussian_noise,
    "shot_noise": noise.shot_noise,
    "impulse_noise": noise.impulse_noise,
    "defocus_blur": blur.defocus_blur,
    "glass_blur": blur.glass_blur,
    "motion_blur": blur.motion_blur,
    "zoom_blur": blur.zoom_blur,
    "snow": weather.snow,
    "frost": frost,
    "fog": weather.fog,
    "brightness": weather.brightness,
    "contrast": digital.contrast,
    "elastic_transform": digital.elastic_transform,
    "pixelate": digital.pixelate,
    "jpeg_compression": digital.jpeg_compression,
    "speckle_noise": noise.speckle_noise,
    "gaussian_blur": blur.gaussian_blur,
    "spatter": spatter,
    "saturate": digital.saturate,
}
KINDS: tuple[str, ...] = tuple(_FUNCTIONS)
_VALUES_AT_ONCE = 1 << 20  # pixels times channels; a larger batch is split into pieces that fit in the cache


def corrupt(x: Tensor, kind: str, severity: int, *, keys: Tensor, scale: Scale | None = None) -> Tensor:
    """Apply a corruption to images.

    Args:
        x: Images, (B, C, H, W), floating point, in [0, 1], 1 or 3 channels, sides of 32 to 512 pixels; left untouched.
            They are first rounded to whole grey levels, since the reference takes bytes.
        kind: One of :data:`KINDS`.
        severity: 1 (weakest) to 5.
        keys: Seed of each image, (B,), int64; the same key gives the same corruption.
        scale: Table of strengths, one of :data:`SCALES`; default the one for the nearest published size.

    Returns:
        Images of the same shape and type, in [0, 1], on whole grey levels k/255.

    Raises:
        InputError: The kind, severity or scale is unknown, or images or keys differ from the above.
    """
    _check(x, kind, severity, keys, scale)
    table = STRENGTHS[scale or nearest_scale(*x.shape[-2:])]
    strength = table[kind][severity - 1]
    streams = keyed_bits(keys, (1,), draw=KINDS.index(kind))[:, 0]  # kinds draw independently
    result = torch.empty_like(x, memory_format=torch.contiguous_format, requires_grad=False)
    with torch.no_grad():
        for rows in _pieces(x):
            levels = torch.round(x[rows].float() * 255).clamp(0, 255) / 255
            result[rows] = cut_to_levels(_FUNCTIONS[kind](levels, streams[rows], *strength)).to(x.dtype)
    return result


def _pieces(x: Tensor) -> Iterator[slice]:
    count = max(1, _VALUES_AT_ONCE // max(1, x[:1].numel()))
    return (slice(start, start + count) for start in range(0, len(x), count))


def _check(x: Tensor, kind: str, severity: int, keys: Tensor, scale: str | None) -> None:
    if kind not in _FUNCTIONS:
        near = difflib.get_close_matches(str(kind), KINDS, n=1, cutoff=0.0)
        raise InputError(f'unknown corruption "{kind}"; nearest: "{near[0]}"; known: {", ".join(KINDS)}')
    if isinstance(severity, bool) or severity not in SEVERITIES:
        raise InputError(f"severity must be a whole number from 1 to 5, got {severity!r}")
    if scale is not None and scale not in SCALES:
        raise InputError(f'unknown scale "{scale}"; known: {", ".join(SCALES)}')
    check_images(x)
    if x.shape[1] not in (1, 3):
        raise InputError(f"corruptions take images of 1 or 3 channels, got {x.shape[1]}")
    if not all(SIDES[0] <= side <= SIDES[1] for side in x.shape[-2:]):
        raise InputError(
            f"corruptions take sides of {SIDES[0]} to {SIDES[1]} pixels, got {x.shape[2]} x {x.shape[3]}; resize first"
        )
    if not isinstance(keys, Tensor) or keys.dtype != torch.int64 or keys.shape != x.shape[:1]:
        got = f"{keys.dtype} {tuple(keys.shape)}" if isinstance(keys, Tensor) else type(keys).__name__
        raise InputError(f"keys must be an int64 tensor ({len(x)},), one for each image, got {got}")
    bad = bad_rows(x).nonzero().flatten()
    if len(bad):
        raise InputError(f"image {int(bad[0])} has values that are not finite or lie outside [0, 1]")
