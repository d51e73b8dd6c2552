"""Robustness of models side by side, under affine transforms, corruptions, attacks and patches."""

from __future__ import annotations

from whywrong.explain.robustness.config import RobustnessConfig
from whywrong.explain.robustness.kinds import ROWS, RowKind
from whywrong.explain.robustness.parts import Part, RowCall, RowMissing

__all__ = ["ROWS", "Part", "RobustnessConfig", "RowCall", "RowKind", "RowMissing"]
