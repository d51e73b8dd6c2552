"""Shared parts of the loaders of libraries, such as seeded builds, downloads, and unknown names."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import torch
from torch import nn

from whywrong.core.errors import EnvironmentFailure, InputError

LIBRARY_WEIGHTS = ("random", "pretrained")
HOW = (
    'pass weights=FILE (safetensors or state dict), weights="pretrained" to let the library download its own, '
    'or weights="random"'
)


def create_module(create: Any, input_size: tuple[int, ...] | None, weights: str | None, what: str) -> nn.Module:
    """Build an architecture, for a fixed input size if it has one.

    Weights from a file are loaded later.
    """
    if weights is None:
        raise InputError(f"{what} says no weights, and nothing is downloaded unasked: {HOW}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if input_size is None:
            module = create()
        else:
            try:
                module = create(img_size=tuple(input_size[1:]))
            except TypeError:  # convolutional nets accept any size and have no such option
                module = create()
    return module.eval()


def download(get: Any, *args: Any, **options: Any) -> Any:
    try:
        return get(*args, **options)
    except OSError as error:
        raise EnvironmentFailure(f"pretrained weights could not be fetched: {error}") from error


def refuse_weights(path: Path) -> InputError:
    """Build the error for a weights file that was given as a model."""
    return InputError(
        f"{path.name} holds weights and does not say the architecture: name it, as timm:resnet50 or file.py:function, "
        f"and pass weights={path.name}. Whole pickled modules are never opened"
    )


def unknown_name(library: str, name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f'{library} has no model "{name}"' + (f'; nearest: "{near[0]}"' if near else "")
