"""Damage other images as an error is damaged, as far as pixels show kind and strength.

Source: ours, docs/methods/interventions.md.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from whywrong.core.errors import InputError
from whywrong.core.randomness import keyed_normal, keyed_uniform
from whywrong.data.corruptions.digital import jpeg_compression
from whywrong.data.corruptions.filters import gaussian_filter
from whywrong.explain.edits.estimates import blur_width, luma_of, quiet_noise
from whywrong.explain.edits.smooth import despeckled

_WIDTHS = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0)  # pixels
_QUALITY = 30
_MEAN = (0.02, 0.98)

# From errors (n, C, H, W), receivers of the same shape and keys (n,) to damaged receivers.
Damaging = Callable[[Tensor, Tensor, Tensor], Tensor]


def _noise(error: Tensor, into: Tensor, keys: Tensor) -> Tensor:
    """Add as much noise as the error has more than the receiver."""
    more = quiet_noise(luma_of(error)).square() - quiet_noise(luma_of(into)).square()
    noise = keyed_normal(keys, into.shape[1:]).to(into)
    return into + noise * _column(more.clamp(min=0).sqrt())


def _odd_pixels(error: Tensor, into: Tensor, keys: Tensor) -> Tensor:
    """Set as large a share of the pixels to black or white as the error has odd ones."""
    share = (despeckled(error) != error).any(1).float().mean((1, 2))
    drawn = keyed_uniform(keys, into.shape[2:]).to(into)[:, None]
    black = drawn < _column(share) / 2
    return torch.where(black, 0.0, torch.where(drawn > 1 - _column(share) / 2, 1.0, into))


def _blur(error: Tensor, into: Tensor, keys: Tensor) -> Tensor:
    """Blur by the width that the error's edges have more, in squares, rounded to one of six."""
    wanted = (blur_width(error).square() - blur_width(into).square()).clamp(min=0).sqrt()
    steps = wanted.new_tensor([0.0, *_WIDTHS])
    chosen = (wanted[:, None] - steps).abs().argmin(1)
    blurred = torch.stack([into, *(gaussian_filter(into, width) for width in _WIDTHS)])
    return blurred[chosen, torch.arange(len(into), device=into.device)]


def _compression(error: Tensor, into: Tensor, keys: Tensor) -> Tensor:
    """Compress at quality 30, as pixels do not show the quality well."""
    del error
    pictures = into if into.shape[1] in (1, 3) else into.flatten(0, 1)[:, None]
    return jpeg_compression(pictures, keys, _QUALITY).view_as(into)


def _flatten(error: Tensor, into: Tensor, keys: Tensor) -> Tensor:
    """Bring mean and contrast of the luma to those of the error."""
    del keys
    ours, theirs = luma_of(error).flatten(1), luma_of(into).flatten(1)
    factor = (ours.std(1) / theirs.std(1).clamp(min=1e-6)).clamp(max=1)
    return _column(ours.mean(1)) + _column(factor) * (into - _column(theirs.mean(1)))


def _brightness(error: Tensor, into: Tensor, keys: Tensor) -> Tensor:
    """Bring the mean luma to that of the error by a power."""
    del keys
    ours, theirs = (luma_of(x).mean((1, 2, 3)).clamp(*_MEAN) for x in (error, into))
    return into.pow(_column(ours.log() / theirs.log()))


def _colour(error: Tensor, into: Tensor, keys: Tensor) -> Tensor:
    """Scale the colour differences to those of the error."""
    del keys
    luma = luma_of(into)
    spread = [(x - luma_of(x)).flatten(1).square().mean(1).sqrt() for x in (error, into)]
    return luma + _column(spread[0] / spread[1].clamp(min=1e-6)) * (into - luma)


_DAMAGES: dict[str, Damaging] = {
    "denoise": _noise,
    "despeckle": _odd_pixels,
    "deblur": _blur,
    "decompress": _compression,
    "stretch": _flatten,
    "brighten": _brightness,
    "darken": _brightness,
    "saturate": _colour,
    "desaturate": _colour,
}


def damage_like(restoration: str, error: Tensor, into: Tensor, keys: Tensor) -> Tensor:
    """Give receivers the damage that a restoration would undo in the errors.

    Args:
        restoration: Name of the restoration, which names the kind of damage.
        error: (n, C, H, W), in [0, 1], the damaged errors, which show the strength.
        into: (n, C, H, W), in [0, 1], the receivers.
        keys: (n,) int64, seed of the noise.

    Returns:
        (n, C, H, W), in [0, 1].

    Raises:
        InputError: No such restoration.
    """
    if restoration not in _DAMAGES:
        raise InputError(f'no damage belongs to "{restoration}"; the restorations are {", ".join(_DAMAGES)}')
    return _DAMAGES[restoration](error, into, keys).clamp(0, 1)


def _column(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)
