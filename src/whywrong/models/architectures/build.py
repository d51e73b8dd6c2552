"""Build a network from its settings, with initial weights that follow from a seed."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from whywrong.core.config import make_config
from whywrong.core.errors import InputError
from whywrong.models.architectures.architecture import FAMILIES, Architecture
from whywrong.models.architectures.base import CapsuleNet
from whywrong.models.architectures.capsnet import CapsNet
from whywrong.models.architectures.convnet import ConvNet
from whywrong.models.architectures.em import EMCapsNet
from whywrong.models.architectures.graph import GraCapsNet

_CAPSULES: dict[str, type[CapsuleNet]] = {
    "capsnet": CapsNet,
    "affcapsnet": CapsNet,
    "gracapsnet": GraCapsNet,
    "emcapsnet": EMCapsNet,
    "convnet": ConvNet,
}
_MOST_TOKENS = 400
# What a family is by its own paper, unless the caller says otherwise.
_DEFAULTS: dict[str, dict[str, Any]] = {
    "affcapsnet": {"iterations": 1, "share": "position"},
    "emcapsnet": {"primary": 16, "dim": 16, "loss": "spread"},
    "vit": {"loss": "nll"},
}


def plan_network(family: str, shape: tuple[int, int, int], classes: int, **settings: Any) -> Architecture:
    """Complete the settings of a network by the defaults of its family.

    Text is converted to the type of the setting.

    Args:
        family: Name of the family, see :class:`Architecture`.
        shape: (C, H, W) of the images.
        classes: Number of classes.
        settings: Further fields of :class:`Architecture`.

    Raises:
        InputError: A setting is unknown or out of range.
    """
    if family not in FAMILIES:
        Architecture(family=family, shape=shape, classes=classes)  # refuses the name
    given = {**_DEFAULTS.get(family, {}), **settings, "family": family, "shape": shape, "classes": classes}
    return make_config(Architecture, given, family)


def build_network(plan: Architecture, *, seed: int | None = None) -> nn.Module:
    """Build a network with random initial weights.

    Args:
        plan: Settings of the network.
        seed: Seed of the weights; the state of torch's generator is kept. None draws from that generator.

    Returns:
        A :class:`CapsuleNet`, or a vision transformer; both map images (B, C, H, W) in [0, 1] to logits (B, K).

    Raises:
        InputError: The images are too small for the layers.
    """
    if seed is not None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return build_network(plan)
    family = _CAPSULES.get(plan.family)
    return _transformer(plan) if family is None else family(plan)


def training_loss(module: nn.Module, x: Tensor, y: Tensor, *, margin: float = 0.9) -> Tensor:
    """Compute the loss by which a network is trained.

    Args:
        module: Result of :func:`build_network`.
        x: (B, C, H, W) in [0, 1].
        y: (B,) int64.
        margin: Margin of the spread loss.
    """
    if isinstance(module, CapsuleNet):
        return module.training_loss(x, y, margin=margin)
    return nn.functional.cross_entropy(module(x), y)


def _transformer(plan: Architecture) -> nn.Module:
    """Build a vision transformer of about 8 x 8 tokens (Dosovitskiy et al. 2021, arXiv 2010.11929)."""
    from timm.models.vision_transformer import VisionTransformer

    height, width = plan.shape[1:]
    wanted = min(height, width) / 8
    patches = [side for side in range(1, min(height, width) + 1) if height % side == 0 == width % side]
    patch = min(patches, key=lambda side: abs(math.log(side / wanted)))
    if not 4 <= height * width // patch**2 <= _MOST_TOKENS:
        raise InputError(
            f"no patch size of vit fills {height} x {width} pixels with 4 to {_MOST_TOKENS} patches: give an input "
            "size that is a multiple of 8"
        )
    return VisionTransformer(
        img_size=(height, width), patch_size=patch, in_chans=plan.shape[0], num_classes=plan.classes,
        embed_dim=4 * plan.width, depth=plan.depth, num_heads=4, mlp_ratio=2,
    )  # fmt: skip
