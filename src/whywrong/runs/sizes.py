"""Number of items in a shard, settled at the first listing of a run."""

from __future__ import annotations

# Beyond so many items, so many in a shard. A stage holds the decoded errors of one shard, and a kill loses one.
_BEYOND, _LARGE = 100_000, 2_048


def shard_size(items: int, smallest: int) -> int:
    """Return the number of items in a full shard.

    It is larger for large runs, so that one of ten million items has some thousand shards.

    Args:
        items: Items of the source.
        smallest: Size for up to 100,000 items.
    """
    return max(_LARGE, smallest) if items > _BEYOND else smallest
