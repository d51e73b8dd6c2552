"""Surrogates in safetensors files, with a card that says how they were made. Nothing in a file is executed."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from whywrong.core.errors import InputError, ModelError
from whywrong.models.surrogates.nets import Ensemble, check_nets
from whywrong.models.weights.files import load_weights

_KEY = "whywrong.surrogate"
_MOST_CLASSES, _MOST_SIDE, _MOST_NETS = 100_000, 4096, 64


@dataclass(frozen=True, slots=True, kw_only=True)
class SurrogateCard:
    """How a surrogate was made.

    Attributes:
        nets: Architectures of its networks.
        shape: (C, H, W) of the images.
        classes: Names of the classes, in the order of its scores.
        access: What it was trained on, ``scores`` or ``labels``.
        queries: Images that the black box was asked about for it.
        agreement: Share of held-out answers that it gives as well.
        held_out: Number of these answers.
        black_box: Identity of the black box.
        seed: Seed of its training.
    """

    nets: tuple[str, ...]
    shape: tuple[int, int, int]
    classes: tuple[str, ...]
    access: str
    queries: int
    agreement: float
    held_out: int
    black_box: str
    seed: int


def write_surrogate(path: Path, module: Ensemble, card: SurrogateCard) -> None:
    """Write a surrogate and its card to a safetensors file.

    Raises:
        InputError: The name of the file has another suffix.
    """
    from safetensors.torch import save_file

    if path.suffix != ".safetensors":
        raise InputError(f"a surrogate is kept in a .safetensors file, got {path.name}")
    state = {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}
    save_file(state, path, metadata={_KEY: json.dumps(asdict(card))})


def read_surrogate(path: Path) -> tuple[Ensemble, SurrogateCard]:
    """Read a surrogate and its card.

    Raises:
        InputError: The file does not exist.
        ModelError: It is damaged, or not a surrogate of this package.
    """
    card = read_card(path)
    with torch.random.fork_rng(devices=[]):  # building draws weights, which the file then replaces
        module = Ensemble(card.nets, card.shape, len(card.classes))
    load_weights(module, path)
    return module.eval(), card


def read_card(path: Path) -> SurrogateCard:
    """Read the card of a surrogate.

    Raises:
        InputError, ModelError: For the same reasons as in :func:`read_surrogate`.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise InputError(f"no surrogate at {path}")
    try:
        with safe_open(path, "pt") as opened:
            told = json.loads(opened.metadata()[_KEY])
        return _card(told)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, InputError) as error:
        raise ModelError(
            f"{path.name} is not a surrogate that whywrong wrote, or is damaged ({error}); make one "
            "with whywrong.distil(black_box, images).write(FILE)"
        ) from None


def _card(told: dict[str, Any]) -> SurrogateCard:
    """Check every entry of a card, which nothing guarantees."""
    nets, shape, classes = tuple(map(str, told["nets"])), tuple(told["shape"]), tuple(map(str, told["classes"]))
    check_nets(nets)
    whole = [*shape, told["queries"], told["held_out"], told["seed"]]
    if not all(isinstance(value, int) and not isinstance(value, bool) for value in whole):
        raise ValueError("a number of its card is not whole")
    if len(shape) != 3 or shape[0] not in (1, 3) or not all(1 <= side <= _MOST_SIDE for side in shape[1:]):
        raise ValueError(f"its card names images of {shape}")
    if len(nets) > _MOST_NETS or not 2 <= len(classes) <= _MOST_CLASSES or told["queries"] < 0:
        raise ValueError("its card names too many networks, or no classes")
    if told["access"] not in ("scores", "labels") or not 0 <= float(told["agreement"]) <= 1:
        raise ValueError("its card does not say what it was trained on")
    return SurrogateCard(
        nets=nets,
        shape=(shape[0], shape[1], shape[2]),
        classes=classes,
        access=told["access"],
        queries=told["queries"],
        agreement=float(told["agreement"]),
        held_out=told["held_out"],
        black_box=str(told["black_box"]),
        seed=told["seed"],
    )
