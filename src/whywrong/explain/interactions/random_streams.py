"""Numbers of the random streams, so that no two purposes draw the same bits from one key."""

from __future__ import annotations

PAIRS = 1
PERMUTATIONS = 2
MARGINALS = 3
BLOCKS = 4
CODES = 5
PILOT = 6
_CONTEXTS = 1 << 40
_PILOTS = 1 << 41


def coalition_stream(order: int, number: int = 0) -> int:
    """Return the stream of the contexts of an order.

    ``number`` separates the contexts of one pair.
    """
    return _CONTEXTS + (order << 20) + number


def pilot_stream(order: int) -> int:
    """Return the stream of the pilot's contexts of an order, which no estimate uses."""
    return _PILOTS + order


def count_stream(contexts: int) -> int:
    """Return the stream for how many players of a component a context holds."""
    return contexts + (1 << 42)
