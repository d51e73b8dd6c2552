"""Levels of access to a classifier."""

from __future__ import annotations

from enum import IntEnum


class Access(IntEnum):
    """Levels of access; each includes those before it.

    LABELS: the predicted class. SCORES: logits or probabilities of all classes. GRADIENTS: derivatives
    with respect to the pixels. INTERNALS: layers and weights.

    Example:
        >>> import whywrong as ww
        >>> ww.Access.SCORES < ww.Access.GRADIENTS
        True
    """

    LABELS = 1
    SCORES = 2
    GRADIENTS = 3
    INTERNALS = 4
