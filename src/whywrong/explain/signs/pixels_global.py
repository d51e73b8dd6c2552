"""Signs of the pixels as a whole: noise, sharpness, spectrum, tone, colour, and traces of compression."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from whywrong.data.corruptions.filters import gaussian_filter
from whywrong.explain.edits.estimates import blur_width, luma_of, mean_noise, noise_mask, quiet_noise
from whywrong.explain.edits.smooth import median
from whywrong.explain.signs.jpeg import comb, zeroed
from whywrong.explain.signs.sign import Kind, Sign

_TINY = 1e-6
_BLOCK = 8
_ODD, _EQUAL, _FLAT, _RANGE, _FULL = 0.15, 0.5 / 255, 2.5 / 255, 0.06, 0.98


def _sign(
    name: str, doc: str, *, high: str = "", low: str = "", kind: Kind = "quantity", colour: bool = False, side: int = 3
) -> Sign:
    return Sign(
        name=name, doc=doc, group="pixels_global", stage="pixels", kind=kind, high=high, low=low, colour=colour,
        least_side=side,
    )  # fmt: skip


SIGNS: tuple[Sign, ...] = (
    _sign(
        "noise_level", "Noise of the quietest fifth of blocks of 4 pixels, pixel range.", high="much fine noise", side=6
    ),
    _sign("noise_mean", "Noise by the mean answer of Immerkaer's mask, pixel range.", high="much noise or texture"),
    _sign(
        "noise_median", "Noise by the median answer of Immerkaer's mask, pixel range.", high="noise nearly everywhere"
    ),
    _sign("sharpness", "Log of the variance of the Laplacian.", high="much fine detail", low="little fine detail"),
    _sign("blur_width", "Standard deviation of the blur at the strongest edges, pixels.", high="blurred edges"),
    _sign("spectrum_fine", "Share of the spectrum above half of the Nyquist frequency."),
    _sign("spectrum_middle", "Share of the spectrum between 0.2 and 0.5 of the Nyquist frequency."),
    _sign("spectrum_anisotropy", "How much stronger one direction of the spectrum is.", high="detail in one direction"),
    _sign(
        "impulse_share",
        "Share of the pixels whose luma is further than 0.15 from its 3 x 3 median.",
        high="single odd pixels",
    ),
    _sign("saturated_share", "Share of the values at 0 or 1.", high="many black or white values"),
    _sign("luma", "Mean luma.", high="very bright", low="very dark"),
    _sign("contrast", "Standard deviation of the luma.", high="strong contrast", low="little contrast"),
    _sign("luma_low", "2 % quantile of the luma.", high="nothing is dark"),
    _sign("luma_high", "98 % quantile of the luma.", low="nothing is bright"),
    _sign("flat_share", "Share of neighbouring pixels that differ by less than 1 %.", high="large even areas"),
    _sign("repeated_share", "Share of neighbours that are equal at edges.", high="repeated pixels", side=5),
    _sign(
        "blockiness",
        "Log of the steps at every 8th pixel against all others; 0 in the mean.",
        high="blocks of 8",
        side=16,
    ),
    _sign(
        "jpeg_zeros",
        "Share of zero 8 x 8 DCT coefficients, on the grid minus off it.",
        high="zeroed detail as in a JPEG",
        side=16,
    ),
    _sign(
        "jpeg_comb",
        "How far DCT coefficients lie on the steps of a JPEG, minus the same off the grid.",
        high="steps of a JPEG",
        side=16,
    ),
    _sign(
        "colourfulness",
        "Spread and mean of the opponent colours.",
        high="strong colours",
        low="pale colours",
        colour=True,
    ),
    _sign("saturation", "Mean saturation.", high="strong colours", low="pale colours", colour=True),
    _sign("saturation_high", "90 % quantile of the saturation.", colour=True),
    _sign("value_low", "2 % quantile of the largest channel.", high="no dark colour", colour=True),
    _sign("saturation_full", "Share of the pixels of full saturation.", high="exaggerated colours", colour=True),
    _sign("value_high", "90 % quantile of the largest channel.", low="no bright colour", colour=True),
    _sign(
        "chroma_fine",
        "Deviation of the colour differences from their blur.",
        high="colour noise",
        low="smoothed colour",
        colour=True,
    ),
    _sign(
        "chroma_spectrum",
        "Share of the colour spectrum above a quarter of the sampling rate.",
        low="colour at half the resolution",
        colour=True,
    ),
    _sign(
        "chroma_zeros",
        "As `jpeg_zeros`, of the colour differences.",
        high="zeroed colour detail as in a JPEG",
        colour=True,
        side=16,
    ),
)


def global_signs(x: Tensor) -> dict[str, Tensor]:
    """Compute the signs of the pixels as a whole.

    Args:
        x: (n, C, H, W), float32, in [0, 1].

    Returns:
        Values (n,) by name; those that the size or the number of channels does not allow are missing.
    """
    luma = luma_of(x)
    found = _noise(x, luma) | _spectrum(luma) | _tone(x, luma)
    if min(x.shape[2:]) >= 2 * _BLOCK:
        found |= {"blockiness": _blockiness(luma), "jpeg_zeros": zeroed(luma), "jpeg_comb": comb(luma)}
    if x.shape[1] == 3:
        found |= _colour(x, luma)
    return found


def _noise(x: Tensor, luma: Tensor) -> dict[str, Tensor]:
    mask = noise_mask(luma).abs().flatten(1)
    laplacian = F.pad(luma, (1, 1, 1, 1), mode="replicate")
    laplacian = (
        laplacian[..., 1:-1, 2:] + laplacian[..., 1:-1, :-2] + laplacian[..., 2:, 1:-1] + laplacian[..., :-2, 1:-1]
    ) - 4 * luma
    return {
        "noise_level": quiet_noise(luma),
        "noise_mean": mean_noise(luma),
        "noise_median": mask.median(1).values / 6 / 0.6745,
        "sharpness": (laplacian.flatten(1).var(1) + _TINY).log(),
        "blur_width": blur_width(x),
        "impulse_share": ((luma - median(luma)).abs() > _ODD).float().mean((1, 2, 3)),
    }


def _frequencies(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the power spectrum (n, C, H, W // 2 + 1) without the mean, and the frequencies down and across.

    The image is faded out at its borders, which would otherwise count as edges. Frequencies are shares of the Nyquist
    frequency.
    """
    height, width = x.shape[2:]
    down = torch.hann_window(height + 2, periodic=False, device=x.device)[1:-1]
    across = torch.hann_window(width + 2, periodic=False, device=x.device)[1:-1]
    window = down[:, None] * across
    centred = (x - (x * window).sum((2, 3), keepdim=True) / window.sum()) * window
    power = torch.fft.rfft2(centred).abs().square()
    f = torch.fft.fftfreq(height, device=x.device)[:, None].abs() * 2
    g = torch.fft.rfftfreq(width, device=x.device)[None, :] * 2
    return power, f, g


def _spectrum(luma: Tensor) -> dict[str, Tensor]:
    power, down, across = _frequencies(luma)
    power = power[:, 0]
    radius = (down.square() + across.square()).sqrt()
    total = power.sum((1, 2)) + _TINY
    weight = power * (radius > 0.1)
    cosine = (across.square() - down.square()) / radius.square().clamp(min=_TINY)
    sine = 2 * across * down * torch.sign(torch.fft.fftfreq(luma.shape[2], device=luma.device))[:, None]
    sine = sine / radius.square().clamp(min=_TINY)
    strength = weight.sum((1, 2)) + _TINY
    return {
        "spectrum_fine": (power * (radius > 0.5)).sum((1, 2)) / total,
        "spectrum_middle": (power * ((radius > 0.2) & (radius <= 0.5))).sum((1, 2)) / total,
        "spectrum_anisotropy": torch.hypot((weight * cosine).sum((1, 2)), (weight * sine).sum((1, 2))) / strength,
    }


def _tone(x: Tensor, luma: Tensor) -> dict[str, Tensor]:
    flat = luma.flatten(1)
    pairs = [(x[..., 1:] - x[..., :-1]).abs().amax(1), (x[..., 1:, :] - x[..., :-1, :]).abs().amax(1)]
    found = {
        "saturated_share": ((x <= 1 / 255) | (x >= 254 / 255)).float().mean((1, 2, 3)),
        "luma": flat.mean(1),
        "contrast": flat.std(1),
        "luma_low": _quantile(flat, 0.02),
        "luma_high": _quantile(flat, 0.98),
        "flat_share": torch.cat([(p < _FLAT).float().flatten(1) for p in pairs], 1).mean(1),
    }
    if min(x.shape[2:]) >= 5:
        found["repeated_share"] = _repeated(*pairs)
    return found


def _repeated(across: Tensor, down: Tensor) -> Tensor:
    """Share of equal neighbours, (n,), among those with a step of 6 % within two pixels on the same line."""
    shares = []
    for steps in (across[:, None], down.transpose(1, 2)[:, None]):
        edge = F.max_pool2d(steps, (1, 5), stride=1, padding=(0, 2)) > _RANGE
        equal = (steps < _EQUAL) & edge
        shares.append(equal.flatten(1).sum(1) / edge.flatten(1).sum(1).clamp(min=1))
    return torch.stack(shares).mean(0)


def _blockiness(luma: Tensor) -> Tensor:
    """Compare the second differences across the edges of 8-pixel blocks with all others, (n,)."""
    logs = []
    for line in (luma, luma.transpose(2, 3)):
        steps = (line[..., 1:] - line[..., :-1]).abs()
        bend = steps[..., 1:-1] - (steps[..., :-2] + steps[..., 2:]) / 2  # a step that its neighbours do not share
        mean = bend.clamp(min=0).mean((1, 2))  # (n, W - 3), step between the pixels j + 1 and j + 2
        phase = (torch.arange(mean.shape[1], device=luma.device) + 2) % _BLOCK == 0
        logs.append(((mean[:, phase].mean(1) + _TINY) / (mean[:, ~phase].mean(1) + _TINY)).log())
    return torch.stack(logs).mean(0)


def _quantile(values: Tensor, q: float) -> Tensor:
    return values.kthvalue(1 + round(q * (values.shape[1] - 1)), dim=1).values


def _colour(x: Tensor, luma: Tensor) -> dict[str, Tensor]:
    red, green, blue = x.unbind(1)
    first, second = (red - green).flatten(1), ((red + green) / 2 - blue).flatten(1)
    value, lowest = x.amax(1).flatten(1), x.amin(1).flatten(1)
    saturation = (value - lowest) / value.clamp(min=1 / 255)
    chroma = torch.cat([(x[:, 2:] - luma) * 0.564, (x[:, :1] - luma) * 0.713], 1)
    power, down, across = _frequencies(chroma)
    fine = (down.maximum(across) > 0.5).to(power)
    found = {
        "colourfulness": torch.hypot(first.std(1), second.std(1)) + 0.3 * torch.hypot(first.mean(1), second.mean(1)),
        "saturation": saturation.mean(1),
        "saturation_high": _quantile(saturation, 0.9),
        "saturation_full": ((saturation > _FULL) & (value > 0.1)).float().mean(1),
        "value_high": _quantile(value, 0.9),
        "value_low": _quantile(value, 0.02),
        "chroma_fine": (chroma - gaussian_filter(chroma, 1.0)).flatten(1).std(1),
        "chroma_spectrum": ((power * fine).sum((1, 2, 3)) + _TINY).log() - (power.sum((1, 2, 3)) + _TINY).log(),
    }
    if min(x.shape[2:]) >= 2 * _BLOCK:
        found["chroma_zeros"] = (zeroed(chroma[:, :1]) + zeroed(chroma[:, 1:])) / 2
    return found
