"""A tiny vision transformer whose tokens can be left out."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from whywrong.core.randomness import keyed_uniform, row_keys

SIDE, PATCH = 32, 8
CLASSES = 5


def tiny_vit(**changes: Any) -> nn.Module:
    """16 patch tokens, random weights, logits that tell images apart."""
    from timm.models.deit import VisionTransformerDistilled
    from timm.models.vision_transformer import VisionTransformer

    kind = VisionTransformerDistilled if changes.pop("distilled", False) else VisionTransformer
    settings = {
        "img_size": SIDE,
        "patch_size": PATCH,
        "embed_dim": 24,
        "depth": 3,
        "num_heads": 3,
        "num_classes": CLASSES,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        vit = kind(**{**settings, **changes})
        for parameter in vit.parameters():
            nn.init.normal_(parameter, std=0.3)
    return vit.eval()


def images(count: int, seed: int = 0) -> Tensor:
    """(count, 3, 32, 32) in [0, 1]."""
    return keyed_uniform(row_keys(seed, count), (3, SIDE, SIDE))
