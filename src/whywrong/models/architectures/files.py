"""Trained networks in safetensors files, with settings and a card. Nothing in a file is executed."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from torch import nn

from whywrong.core.errors import InputError, ModelError
from whywrong.models.architectures.architecture import Architecture
from whywrong.models.architectures.build import build_network
from whywrong.models.weights.files import load_weights

MODEL_FILE = "model.safetensors"  # in the folder of a training
KEY = "whywrong.network"
_MOST_TEXT = 4_000_000  # letters of a card


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkCard:
    """How a network was trained.

    Attributes:
        plan: Settings of the network.
        classes: Names of the classes, in the order of its scores.
        training: Settings of the training.
        images: Images that it was trained on.
        held_out: Labelled images that were held out.
        accuracy: Accuracy on them; None if there are none.
        losses: Mean loss of each epoch.
    """

    plan: Architecture
    classes: tuple[str, ...]
    training: dict[str, Any]
    images: int
    held_out: int
    accuracy: float | None
    losses: tuple[float, ...]


def write_network(file: BinaryIO, module: nn.Module, card: NetworkCard) -> None:
    """Write a network and its card to an open file."""
    from safetensors.torch import save

    state = {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}
    file.write(save(state, metadata={KEY: json.dumps(asdict(card))}))


def read_network(path: Path) -> tuple[nn.Module, NetworkCard]:
    """Read a network, in evaluation mode, and its card.

    Raises:
        InputError: The file does not exist.
        ModelError: It is damaged, or not a network that whywrong trained.
    """
    card = read_card(path)
    module = build_network(card.plan, seed=0)
    load_weights(module, path)
    return module.eval(), card


def read_card(path: Path) -> NetworkCard:
    """Read the card of a network.

    Raises:
        InputError, ModelError: For the same reasons as in :func:`read_network`.
    """
    told = read_metadata(path, KEY)
    try:
        return _card(told)
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path.name}: the card of this network is damaged ({error}); train it again") from None


def read_metadata(path: Path, key: str) -> dict[str, Any]:
    """Read a JSON object in the metadata of a safetensors file.

    Raises:
        InputError: The file does not exist.
        ModelError: It is no safetensors file, or has no such object.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise InputError(f"no network at {path}; give the folder that `whywrong train` wrote")
    try:
        with safe_open(path, "pt") as opened:
            text = (opened.metadata() or {})[key]
        if len(text) > _MOST_TEXT:
            raise ValueError(f"{len(text):,} letters")
        told = json.loads(text)
        if not isinstance(told, dict):
            raise TypeError("no object")
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise ModelError(
            f"{path.name} was not written by `whywrong train`, or is damaged ({error}); train the network again"
        ) from None
    return told


def read_plan(told: Any) -> Architecture:
    """Read the settings of a network, which nothing guarantees, from JSON.

    Raises:
        InputError, KeyError, TypeError, ValueError: They are not those of a network.
    """
    return Architecture(**{**told, "shape": tuple(told["shape"])})


def _card(told: dict[str, Any]) -> NetworkCard:
    plan = read_plan(told["plan"])
    classes = told["classes"]
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise ValueError("its classes are not names")
    if len(classes) != plan.classes or len(set(classes)) != len(classes):
        raise ValueError(f"{len(classes)} names for {plan.classes} classes, or one twice")
    if not isinstance(told["training"], dict):
        raise ValueError("no settings of the training")
    accuracy = told["accuracy"]
    if accuracy is not None and not 0 <= float(accuracy) <= 1:
        raise ValueError(f"accuracy {accuracy}")
    return NetworkCard(
        plan=plan,
        classes=tuple(classes),
        training=told["training"],
        images=int(told["images"]),
        held_out=int(told["held_out"]),
        accuracy=None if accuracy is None else float(accuracy),
        losses=tuple(map(float, told["losses"])),
    )
