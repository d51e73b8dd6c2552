"""Diagnosis of damage from pixel signs, which selects the restoration to test.

The diagnosis uses pixels only and no predictions, so that the test of the selected restoration stays valid. Source:
ours, docs/methods/interventions.md.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from whywrong.verdicts.measured import Measured

RARE = 0.02  # share of the reference that is as unusual
FEWEST_REFERENCE = 50
_TENTHS = 2.563  # q90 - q10 of a normal distribution, in standard deviations


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """A sign of damage, and the restoration that undoes it.

    Attributes:
        restoration: Name of the intervention.
        sign: Name of the sign.
        high: Whether high or low values show the damage.
        words: The damage in words.
        least: Smallest spread of the sign over the reference. It prevents large scores in sets with hardly any spread,
            such as in noise.
    """

    restoration: str
    sign: str
    high: bool
    words: str
    least: float = 1e-9


def _damage(restoration: str, sign: str, high: bool, words: str, least: float = 1e-9) -> Damage:
    return Damage(restoration=restoration, sign=sign, high=high, words=words, least=least)


DAMAGES: tuple[Damage, ...] = (
    _damage("denoise", "noise_level", True, "noise", 0.005),
    _damage("denoise", "noise_median", True, "noise nearly everywhere", 0.005),
    _damage("despeckle", "impulse_share", True, "odd pixels", 0.01),
    _damage("deblur", "blur_width", True, "blurred edges"),
    _damage("decompress", "blockiness", True, "blocks of a JPEG"),
    _damage("decompress", "jpeg_zeros", True, "zeroed detail as in a JPEG"),
    _damage("decompress", "jpeg_comb", True, "steps of a JPEG"),
    _damage("stretch", "contrast", False, "little contrast"),
    _damage("stretch", "luma_low", True, "haze"),
    _damage("brighten", "luma", False, "darkness"),
    _damage("darken", "luma", True, "brightness"),
    _damage("saturate", "saturation", False, "pale colours"),
    _damage("desaturate", "saturation", True, "strong colours"),
)


def diagnose_damage(images: Measured, reference: Measured) -> list[str]:
    """Find the damage that is most unusual in each image.

    A sign counts if at most 2 % of the reference images are as unusual. The most unusual sign is the one farthest from
    the median of the reference, in robust standard deviations.

    Args:
        images: N images with pixel signs; missing signs are ignored.
        reference: At least 50 images, otherwise nothing is diagnosed.

    Returns:
        N names of restorations; empty strings without damage.
    """
    known = [damage for damage in DAMAGES if damage.sign in images.sign_names]
    if not known or len(reference) < FEWEST_REFERENCE:
        return [""] * len(images)
    excess = np.stack([_excess(images, reference, damage) for damage in known], 1)  # (N, D), -inf if usual
    best = excess.argmax(1)
    return [known[at].restoration if np.isfinite(excess[row, at]) else "" for row, at in enumerate(best.tolist())]


def damage_level(images: Measured, reference: Measured, restoration: str) -> np.ndarray:
    """Measure how strongly images show the damage that a restoration undoes.

    Returns:
        (N,) float64, the largest distance of the signs of this damage from the median of the reference, in robust
        standard
            deviations; NaN if no sign is known.
    """
    signs = [damage for damage in DAMAGES if damage.restoration == restoration and damage.sign in images.sign_names]
    if not signs or len(reference) < FEWEST_REFERENCE:
        return np.full(len(images), np.nan)
    levels = np.stack([_distance(images, reference, damage)[0] for damage in signs], 1)
    known = np.isfinite(levels).any(1)
    return np.where(known, np.where(np.isfinite(levels), levels, -np.inf).max(1), np.nan)


def _excess(images: Measured, reference: Measured, damage: Damage) -> np.ndarray:
    """Return how unusual a sign is, (N,); -inf where it is usual or missing."""
    away, above = _distance(images, reference, damage)
    return np.where(np.isfinite(away) & (above <= RARE) & (away > 0), away, -np.inf)


def _distance(images: Measured, reference: Measured, damage: Damage) -> tuple[np.ndarray, np.ndarray]:
    """Return the distance from the median, (N,), and the share of the reference that is as unusual; NaN if unknown."""
    side = 1.0 if damage.high else -1.0
    usual = side * reference.sign(damage.sign).astype(np.float64)
    usual = np.sort(usual[np.isfinite(usual)])
    if len(usual) < FEWEST_REFERENCE:
        nothing = np.full(len(images), np.nan)
        return nothing, nothing
    value = side * images.sign(damage.sign).astype(np.float64)
    above = (len(usual) - np.searchsorted(usual, value, side="left")) / len(usual)
    low, middle, high = np.quantile(usual, (0.1, 0.5, 0.9))
    return (value - middle) / max((high - low) / _TENTHS, damage.least), above
