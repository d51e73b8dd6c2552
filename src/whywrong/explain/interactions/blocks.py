"""Pairs in a few blocks of neighbouring players, spread over the grid, for a small budget.

A context is used for all pairs outside it, and costs one pass per player besides one per pair. Pairs among few players
are therefore cheap, and blocks at several positions avoid measuring one corner only.
"""

from __future__ import annotations

from torch import Tensor

from whywrong.core.errors import InputError
from whywrong.core.randomness import keyed_uniform
from whywrong.explain.interactions.pairs import near_pairs
from whywrong.explain.interactions.random_streams import BLOCKS


def block_pairs(keys: Tensor, rows: int, cols: int, *, side: int = 3, blocks: int = 2, radius: int = 2) -> Tensor:
    """Draw blocks that do not overlap and return all pairs within a radius in them.

    Every image gets different positions. The blocks are drawn without repetition from a tiling of the grid whose origin
    is drawn too, so that players at the border take part.

    Args:
        keys: (B,) int64, one per image; images with the same key get the same blocks.
        rows: Rows of the grid; players are numbered by rows.
        cols: Columns of the grid.
        side: Players per side of a block, at least 2; a smaller grid gives blocks of its own size.
        blocks: Number of blocks; fewer if the grid has no more.
        radius: Largest distance of a pair, in rows and columns.

    Returns:
        (B, P, 2) int64, i < j.

    Raises:
        InputError: The side is below 2, there is no block, the radius is below 1, or the grid has one player.
    """
    if side < 2 or blocks < 1:
        raise InputError(f"blocks have at least 2 players a side and there is at least one, got {side} and {blocks}")
    down, across = min(side, rows), min(side, cols)
    inside = near_pairs(down, across, radius)  # (p, 2)
    tiles_down, tiles_across = rows // down, cols // across
    draws = keyed_uniform(keys, (2 + tiles_down * tiles_across,), BLOCKS).double()  # (B, 2 + T)
    top = (draws[:, 0] * (rows - tiles_down * down + 1)).long()
    left = (draws[:, 1] * (cols - tiles_across * across + 1)).long()
    chosen = draws[:, 2:].topk(min(blocks, tiles_down * tiles_across), sorted=True).indices  # (B, N)
    first_row = top[:, None] + chosen // tiles_across * down
    first_col = left[:, None] + chosen % tiles_across * across
    row = first_row[:, :, None, None] + inside // across  # (B, N, p, 2)
    col = first_col[:, :, None, None] + inside % across
    return (row * cols + col).flatten(1, 2)
