"""Load a surrogate that was distilled from a black box (``surrogate:FILE``)."""

from __future__ import annotations

from pathlib import Path

from whywrong.core.classes import ClassList
from whywrong.core.errors import InputError
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
    if request.weights is not None:
        raise InputError(f"surrogate:{request.name} comes with its own weights; leave weights out")
    path = Path(request.name).absolute()
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
