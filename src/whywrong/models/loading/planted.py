"""Load the networks that ship with the package, trained on pictures that it renders itself (``planted:NAME``).

Their weights and model cards are in ``nets/`` beside this file; :mod:`whywrong.planting.training` creates both.
"""

from __future__ import annotations

import difflib
import json
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from whywrong.core.classes import ClassList
from whywrong.core.errors import InputError, ModelError
from whywrong.models.architectures.build import build_network, plan_network
from whywrong.models.loading.loaded import Loaded, ModelRequest
from whywrong.models.weights.files import load_weights

NETS = ("cnn", "cnn-spurious", "vit", "cnn-robust", "capsnet")
FOLDER = Path(__file__).with_name("nets")
SIDE = 64
_WIDTH = 96


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions with batch norm and a skip connection (He et al. 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.act = nn.ReLU()
        same = stride == 1 and inputs == outputs
        self.short = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        inner = self.act(self.bn1(self.conv1(x)))
        return self.act(self.bn2(self.conv2(inner)) + self.short(x))


class PlantedCNN(nn.Module):
    """Small residual network that maps pictures (B, 3, 64, 64) in [0, 1] to logits (B, K).

    Average pooling and one linear layer at the end make its class activation maps exact.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 24, 5, 2, 2, bias=False), nn.BatchNorm2d(24), nn.ReLU())
        self.blocks = nn.Sequential(  # (B, 24, 32, 32) to (B, 96, 8, 8)
            ResidualBlock(24, 48, 2), ResidualBlock(48, 48, 1), ResidualBlock(48, 96, 2), ResidualBlock(96, 96, 1)
        )  # fmt: skip
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(96, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.pool(self.blocks(self.stem(2 * x - 1))).flatten(1))


class ConvStem(nn.Sequential):
    """Convolutional stem that maps pictures (B, 3, 64, 64) to 8 x 8 patches (B, 64, 8, 8).

    Transformers learn faster after a few convolutions.

    Source: Xiao et al. 2021, arXiv 2106.14881.
    """

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        for inputs, outputs in ((3, 24), (24, 48), (48, 64)):
            layers += [nn.Conv2d(inputs, outputs, 3, 2, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()]
        super().__init__(*layers)


def build_planted(name: str, classes: int) -> nn.Module:
    """Build the architecture of a shipped network, with random initial weights.

    Raises:
        InputError: The network does not exist.
    """
    if name not in NETS:
        near = difflib.get_close_matches(name, NETS, n=1)
        hint = f'; nearest: "planted:{near[0]}"' if near else ""
        raise InputError(f'no shipped net "planted:{name}"; there are {", ".join(NETS)}{hint}')
    if name == "capsnet":
        return build_network(plan_network("capsnet", (3, SIDE, SIDE), classes))
    if name != "vit":
        return PlantedCNN(classes)
    from timm.layers.hybrid_embed import HybridEmbed
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(
        img_size=SIDE, patch_size=1, embed_layer=partial(HybridEmbed, backbone=ConvStem()), embed_dim=_WIDTH, depth=5,
        num_heads=4, mlp_ratio=2, num_classes=classes,
    )  # fmt: skip


def load_planted(request: ModelRequest) -> Loaded:
    """Load a shipped network with its weights and classes.

    Args:
        request: Its name is one of ``NETS``; weights are a file that replaces those of the package, such as those of
            a repair; None keeps them.

    Raises:
        InputError: The network does not exist, or weights were given by a word.
        ModelError: The weights in the package are missing or damaged.
    """
    name = request.name
    if request.weights in ("random", "pretrained"):
        raise InputError(f"planted:{name} comes with its own weights; leave weights out, or give a file")
    if name not in NETS:
        build_planted(name, 2)  # refuses the name
    file = FOLDER / f"{name}.safetensors"
    classes = _classes(file)
    with torch.random.fork_rng(devices=[]):  # building draws weights, which the file then replaces
        module = build_planted(name, len(classes))
    notes = load_weights(module, Path(request.weights or file), key=request.weights_key)
    return Loaded(
        model=module.eval(),
        says={"input_size": (3, SIDE, SIDE)},
        classes=ClassList(classes),
        sources=(f"planted:{name}".encode(),),
        notes=notes,
    )


def _classes(file: Path) -> tuple[str, ...]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, "pt") as opened:
            return tuple(json.loads(opened.metadata()["classes"]))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"the weights of planted:{file.stem} are missing or damaged, install again: {error}") from None
