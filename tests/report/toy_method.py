"""A toy method in one module: how bright each part of an image is. It refuses every third image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from whywrong.core.result import MethodResult
from whywrong.models.classifier import Classifier

CELLS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ToyConfig:
    """Settings of the toy."""

    gain: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class ToyResult(MethodResult):
    """Brightness of an image and of its parts."""

    refused: Tensor
    brightness: Tensor
    parts: Tensor
    forwards: Tensor
    backwards: Tensor

    def columns(self) -> Mapping[str, Any]:
        """Columns of the table."""
        return {
            "status": ["refused" if flag else "ok" for flag in self.refused],
            "reason": ["too dim to be a toy" if flag else None for flag in self.refused],
            "brightness": self.brightness,
        }

    def maps(self) -> Mapping[str, Tensor]:
        """The parts."""
        return {"parts": self.parts}


def toy(classifier: Classifier, x: Tensor, y: Tensor, *, keys: Tensor, config: ToyConfig) -> ToyResult:
    """One pass an image, and nothing learnt from it."""
    classifier.logits(x)
    parts = adaptive_avg_pool2d(config.gain * x.mean(1, keepdim=True), CELLS)[:, 0]
    once = torch.ones(len(x), dtype=torch.int64)
    return ToyResult(keys % 3 == 0, parts.mean((1, 2)), parts - parts.mean((1, 2), keepdim=True), once, 0 * once)
