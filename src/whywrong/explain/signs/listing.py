"""All signs that this method measures, in the order of their columns."""

from __future__ import annotations

from whywrong.explain.signs import crops, gradient, pixels_global, pixels_local, scores, survival, windows
from whywrong.explain.signs.sign import Sign

SIGNS: tuple[Sign, ...] = (
    *scores.SIGNS,
    *pixels_global.SIGNS,
    *pixels_local.SIGNS,
    *survival.SIGNS,
    *gradient.SIGNS,
    *crops.SIGNS,
    *windows.SIGNS,
)
