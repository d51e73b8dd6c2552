"""Numbers of the random streams, so that no two purposes draw the same bits from one key."""

from __future__ import annotations

PAIRS = 1
PERMUTATIONS = 2
MARGINALS = 3
_CONTEXTS = 1 << 40


def context_stream(order: int, number: int = 0) -> int:
    """Stream of the contexts of an order; ``number`` tells the contexts of one pair apart."""
    return _CONTEXTS + (order << 20) + number
