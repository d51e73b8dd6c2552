"""Surrogates named by settings, loaded once beside the black box."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from whywrong.attacks.surrogates.models import Surrogate
from whywrong.core.errors import InputError
from whywrong.doors.named_models import KeptModels
from whywrong.models.classifier import Classifier
from whywrong.models.surrogates.files import read_card

_KEPT = KeptModels()


def named_surrogate(own: str, bank: Sequence[str], distilled: str, beside: Classifier) -> Surrogate | None:
    """Load the surrogate that settings name.

    Args:
        own: Name of a model that the user trained; empty for none.
        bank: Names of other models.
        distilled: File of a distilled surrogate; empty for none.
        beside: The black box, whose device and precision the surrogate gets.

    Returns:
        The surrogate; None if nothing is named.

    Raises:
        InputError: A model is unknown, or was distilled but is named in another tier.
        ModelError: It cannot be loaded.
    """
    for name in (own, *bank):
        if name.startswith("surrogate:"):
            raise InputError(f"{name} was distilled from a black box: name it as distilled={name.partition(':')[2]}")
    if own:
        return Surrogate.own(_model(own, beside))
    if bank:
        return Surrogate.bank([_model(name, beside) for name in bank])
    if distilled:
        path = Path(distilled.removeprefix("surrogate:"))
        card = read_card(path)
        return Surrogate("distilled", (_model(f"surrogate:{path}", beside),), card.queries, card=card)
    return None


def _model(name: str, beside: Classifier) -> Classifier:
    with torch.inference_mode(False):
        return _KEPT.model(name, beside)
