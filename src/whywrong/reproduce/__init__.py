"""The findings of the papers as claims that can be tested on any model and data."""

from __future__ import annotations

from whywrong.reproduce.protocol import (
    ClaimProgress,
    ClaimResult,
    LabelledImages,
    SkippedClaim,
    TensorImages,
)
from whywrong.reproduce.running import run_claim, run_claims

__all__ = [
    "ClaimProgress",
    "ClaimResult",
    "LabelledImages",
    "SkippedClaim",
    "TensorImages",
    "run_claim",
    "run_claims",
]
