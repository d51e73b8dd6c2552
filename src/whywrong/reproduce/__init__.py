"""The findings of the papers as claims that can be tested on any model and data."""

from __future__ import annotations

from whywrong.reproduce.protocol import ClaimResult, LabelledImages, TensorImages, run_claim

__all__ = ["ClaimResult", "LabelledImages", "TensorImages", "run_claim"]
