"""Load networks that whywrong wrote: surrogates (``surrogate:FILE``) and trained networks (``trained:DIR``)."""

from __future__ import annotations

from pathlib import Path

from whywrong.core.classes import ClassList
from whywrong.core.errors import InputError
from whywrong.models.architectures.files import MODEL_FILE, read_network
from whywrong.models.loading.loaded import Loaded, ModelRequest
from whywrong.models.surrogates.files import read_surrogate


def load_surrogate(request: ModelRequest) -> Loaded:
    """Load a surrogate with its weights and classes.

    Args:
        request: Its name is the path of the file; weights may not be given, since the file holds them.

    Raises:
        InputError: The file does not exist, or weights were given.
        ModelError: It is damaged, or not a surrogate of this package.
    """
    path = _path(request, "surrogate")
    module, card = read_surrogate(path)
    return Loaded(
        model=module,
        name=f"surrogate:{path}",
        says={"input_size": card.shape},
        classes=ClassList(card.classes),
        notes=(
            f"Distilled from {card.queries:,} answers ({card.access}) of a black box; it gives {card.agreement:.1%} of "
            f"{card.held_out:,} held-out answers as well.",
        ),
    )


def load_trained(request: ModelRequest) -> Loaded:
    """Load a trained network with its weights and classes.

    Args:
        request: Its name is a folder of ``whywrong train`` or the file in it; weights may not be given, since the file
            holds them.

    Raises:
        InputError: There is no network yet, or weights were given.
        ModelError: The file is damaged, or not a network that whywrong trained.
    """
    path = _path(request, "trained")
    file = path / MODEL_FILE if path.is_dir() else path
    if path.is_dir() and not file.is_file():
        raise InputError(f"{path} holds no {MODEL_FILE}: if training was interrupted, the same command resumes it")
    module, card = read_network(file)
    return Loaded(
        model=module,
        name=f"trained:{file}",
        says={"input_size": card.plan.shape},
        classes=ClassList(card.classes),
    )


def _path(request: ModelRequest, scheme: str) -> Path:
    if request.weights is not None:
        raise InputError(f"{scheme}:{request.name} comes with its own weights; leave weights out")
    return Path(request.name).absolute()
