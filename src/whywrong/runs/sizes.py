"""Number of items in a shard, settled at the first listing of a run."""

from __future__ import annotations

_LARGER = ((10_000_000, 65_536), (1_000_000, 8_192), (100_000, 2_048))  # beyond so many items, so many in a shard


def shard_size(items: int, smallest: int) -> int:
    """Return the number of items in a full shard.

    It grows with the data, so that a run has at most some thousand shards.

    Args:
        items: Items of the source.
        smallest: Size for up to 100,000 items.
    """
    return next((size for beyond, size in _LARGER if items > beyond), smallest)
