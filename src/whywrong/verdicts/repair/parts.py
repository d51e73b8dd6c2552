"""Split the images of a run into those that a repair is fitted on, chosen on, and measured on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from whywrong.verdicts.cases.predictions import Predictions

_HELD = 0.5  # share of the photographs that measure
_CHOOSE = 0.25  # share of the others that choose how far the weights move


@dataclass(frozen=True, slots=True, eq=False)
class Parts:
    """Rows of predictions, (n,) int64 each; images of equal content are in one part.

    Attributes:
        errors: Errors to fit on.
        replay: Correct images to fit on.
        choose: Images that choose how far the weights move.
        held: Images that measure.
    """

    errors: np.ndarray
    replay: np.ndarray
    choose: np.ndarray
    held: np.ndarray


def split(predictions: Predictions, most: int, seed: int) -> Parts:
    """Split items by a hash of their content, independent of their order.

    Args:
        predictions: All labelled items.
        most: Correct images to fit on, at most; those of the smallest hash.
        seed: Seed of the split.
    """
    place = np.array([_place(seed, str(image)) for image in predictions.image_ids])
    held = place < _HELD
    choose = ~held & (place < _HELD + (1 - _HELD) * _CHOOSE)
    fit = ~held & ~choose
    right = np.flatnonzero(fit & ~predictions.wrong)
    replay = np.sort(right[np.argsort(place[right], kind="stable")][:most])
    rows = (fit & predictions.wrong, choose, held)
    errors, choose, held = (np.flatnonzero(one) for one in rows)
    return Parts(errors, replay, choose, held)


def _place(seed: int, image: str) -> float:
    digest = hashlib.blake2b(f"{seed}/{image}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64
