"""Real nets with the images they read rightly or wrongly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from whywrong.models.classifier import Classifier


def right_images(shared_data: Path, shared_models: Any, net: str, limit: int) -> tuple[Classifier, Tensor, Tensor]:
    """A CIFAR-10 net and the first ``limit`` lossless test images that it classifies correctly."""
    return _images(shared_data, shared_models, net, limit, right=True)


def wrong_images(shared_data: Path, shared_models: Any, net: str, limit: int) -> tuple[Classifier, Tensor, Tensor]:
    """The same with images that it misclassifies."""
    return _images(shared_data, shared_models, net, limit, right=False)


def _images(
    shared_data: Path, shared_models: Any, net: str, limit: int, *, right: bool
) -> tuple[Classifier, Tensor, Tensor]:
    with np.load(shared_data / "cifar10_test_a" / "test_lossless.npz") as arrays:
        x = torch.from_numpy(arrays["images"]).permute(0, 3, 1, 2).contiguous().float() / 255
        y = torch.from_numpy(arrays["labels"])
    classifier = Classifier(shared_models(net), batch_size=128)
    chosen = ((classifier.predict(x) == y) == right).nonzero().flatten()[:limit]
    return classifier, x[chosen], y[chosen]
