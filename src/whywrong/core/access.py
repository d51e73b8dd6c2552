"""Levels of access to a classifier."""

from __future__ import annotations

from enum import IntEnum


class Access(IntEnum):
    """Levels of access; each includes those before it.

    LABELS: the predicted class. TOP: scores of the best few classes. SCORES: logits or probabilities of all
    classes. GRADIENTS: derivatives with respect to the pixels. INTERNALS: layers and weights.

    Example:
        >>> import whywrong as ww
        >>> ww.Access.SCORES < ww.Access.GRADIENTS
        True
    """

    LABELS = 1
    TOP = 2
    SCORES = 3
    GRADIENTS = 4
    INTERNALS = 5
