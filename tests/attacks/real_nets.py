"""Real nets with the images they read rightly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from whywrong.models.classifier import Classifier


def right_images(shared_data: Path, shared_models: Any, net: str, limit: int) -> tuple[Classifier, Tensor, Tensor]:
    """A CIFAR-10 net and the first ``limit`` lossless test images that it classifies correctly."""
    with np.load(shared_data / "cifar10_test_a" / "test_lossless.npz") as arrays:
        x = torch.from_numpy(arrays["images"]).permute(0, 3, 1, 2).contiguous().float() / 255
        y = torch.from_numpy(arrays["labels"])
    classifier = Classifier(shared_models(net), batch_size=128)
    right = (classifier.predict(x) == y).nonzero().flatten()[:limit]
    return classifier, x[right], y[right]
