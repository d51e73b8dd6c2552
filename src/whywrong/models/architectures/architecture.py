"""Settings that fix a network: its family, its layers and its loss. They are checked here and nowhere else."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

from whywrong.core.errors import InputError
from whywrong.models.architectures.losses import LOSSES

FAMILIES = ("capsnet", "affcapsnet", "gracapsnet", "emcapsnet", "convnet", "vit")
LAYOUTS = ("compact", "published")
SHARES = ("none", "position", "all")
GRAPHS = ("grid", "code")
_MOST = {"classes": 100_000, "width": 2048, "types": 1024, "primary": 256, "dim": 256, "iterations": 20, "depth": 64}
_MOST_SIDE = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """Settings of a network. A family ignores those that it has no use for.

    Attributes:
        family: ``capsnet``, ``affcapsnet``, ``gracapsnet``, ``emcapsnet``, ``convnet`` or ``vit``.
        shape: (C, H, W) of the images; C is 1 or 3.
        classes: Number of classes, K, at least 2.
        layout: ``compact`` halves the image by convolutions with batch normalisation until a side is at most 8 pixels;
            ``published`` takes the convolutions of the paper, without normalisation.
        width: Channels of the first convolution of ``compact``; for ``vit`` a quarter of the width of a token.
        types: Types of primary capsules.
        primary: Numbers of a primary capsule, d; 16 for ``emcapsnet``.
        dim: Numbers of a class capsule, D; 16 for ``emcapsnet``.
        iterations: Routing iterations, r, in training and in use.
        share: Which primary capsules share a transformation: ``none``, those of one type (``position``), or ``all``.
        graph: Graph of ``gracapsnet``: ``grid`` joins neighbours, ``code`` is that of the published code, in which no
            two positions are joined.
        depth: Blocks of ``vit``.
        transform, routing, squash: Parts of a capsule network that ``convnet`` has.
        decoder: Whether a decoder reconstructs the image from the class capsule.
        loss: ``margin``, ``spread`` or ``nll``.

    Raises:
        InputError: A setting is unknown or out of range.
    """

    family: str
    shape: tuple[int, int, int]
    classes: int
    layout: str = "compact"
    width: int = 24
    types: int = 8
    primary: int = 8
    dim: int = 16
    iterations: int = 3
    share: str = "none"
    graph: str = "grid"
    depth: int = 4
    transform: bool = False
    routing: bool = False
    squash: bool = True
    decoder: bool = False
    loss: str = "margin"

    def __post_init__(self) -> None:
        for name, known in (
            ("family", FAMILIES), ("layout", LAYOUTS), ("share", SHARES), ("graph", GRAPHS), ("loss", LOSSES),
        ):  # fmt: skip
            _among(name, getattr(self, name), known)
        for name, most in _MOST.items():
            least = 2 if name == "classes" else 1
            value = getattr(self, name)
            if type(value) is not int or not least <= value <= most:
                raise InputError(f"{name} must be a whole number from {least} to {most:,}, got {value!r}")
        sides = self.shape
        if len(sides) != 3 or any(type(side) is not int for side in sides):
            raise InputError(f"shape must be (C, H, W), three whole numbers, got {sides}")
        if sides[0] not in (1, 3) or not all(1 <= side <= _MOST_SIDE for side in sides[1:]):
            raise InputError(f"images must have 1 or 3 channels and sides of 1 to {_MOST_SIDE} pixels, got {sides}")
        for name in ("transform", "routing", "squash", "decoder"):
            if type(getattr(self, name)) is not bool:
                raise InputError(f"{name} must be true or false, got {getattr(self, name)!r}")
        if self.family == "vit" and self.decoder:
            raise InputError("vit has no class capsules to reconstruct images from: leave decoder out")


def _among(name: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        near = difflib.get_close_matches(str(value), known, n=1)
        hint = f'; nearest: "{near[0]}"' if near else ""
        raise InputError(f'{name} must be one of {", ".join(known)}, got "{value}"{hint}')
