"""Selection of the measured pairs of players and of the orders.

Source: Deng et al. 2022, official code (neighbours within a Chebyshev radius, coordinates clamped to the grid).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from whywrong.core.errors import InputError
from whywrong.core.randomness import keyed_uniform
from whywrong.explain.interactions.random_streams import PAIRS

RATIOS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0)
_SLACK = 1e-9  # 0.29 * 100 is 28.999... in floats, and means 29


def orders_of(players: int, ratios: Sequence[float] = RATIOS) -> tuple[int, ...]:
    """Convert ratios r in [0, 1] to orders s = floor(r (n - 2)).

    Orders that a small n gives twice are kept once.

    Raises:
        InputError: A ratio outside [0, 1], or none.
    """
    if not ratios or not all(0 <= ratio <= 1 for ratio in ratios):
        raise InputError(f"order ratios must lie in [0, 1], got {list(ratios)}")
    return tuple(sorted({int(ratio * (players - 2) + _SLACK) for ratio in ratios}))


def check_orders(orders: Sequence[int], players: int) -> None:
    """Refuse orders outside 0..n-2, repeated, or none.

    Raises:
        InputError: The message names the order.
    """
    if not orders:
        raise InputError("name at least one order")
    for order in orders:
        if isinstance(order, bool) or not isinstance(order, int) or not 0 <= order <= players - 2:
            raise InputError(f"orders of {players} players are whole numbers in 0..{players - 2}, got {order!r}")
    if len(set(orders)) != len(orders):
        raise InputError(f"an order is named twice: {list(orders)}")


def all_pairs(players: int) -> Tensor:
    """List all pairs i < j, (n (n-1) / 2, 2) int64."""
    return torch.combinations(torch.arange(players), 2)


def near_pairs(rows: int, cols: int, radius: int = 2) -> Tensor:
    """List the pairs i < j of cells at most ``radius`` rows and columns apart.

    (P, 2) int64; cells are numbered by rows.

    Raises:
        InputError: A radius below 1, or a grid without pairs.
    """
    if radius < 1 or rows * cols < 2:
        raise InputError(f"no pairs within radius {radius} on a grid of {rows} x {cols}")
    pairs = all_pairs(rows * cols)
    down = (pairs[:, 1] // cols - pairs[:, 0] // cols).abs()
    right = (pairs[:, 1] % cols - pairs[:, 0] % cols).abs()
    return pairs[(down <= radius) & (right <= radius)]


def draw_pairs(keys: Tensor, pairs: Tensor, count: int, weights: Tensor | None = None) -> Tensor:
    """Draw pairs for each image, without repetition.

    Args:
        keys: (B,) int64, one an image.
        pairs: (P, 2) int64 to draw from.
        count: Pairs per image, at least 1; if there are fewer, all of them are taken, with a warning.
        weights: (P,) chance of each pair at every draw, of those not drawn before; None for equal ones.

    Returns:
        (B, count, 2) int64.

    Raises:
        InputError: ``count`` is below 1.
    """
    if count < 1:
        raise InputError(f"at least one pair must be asked for, got {count}")
    if count > len(pairs):
        warnings.warn(f"{count} pairs were asked for, there are {len(pairs)}: all of them are taken", stacklevel=2)
        count = len(pairs)
    chance = torch.ones(len(pairs), dtype=torch.float64) if weights is None else weights.double()
    # Drawing one by one and rejecting repetitions has the law of the smallest exponential waiting times.
    waiting = -keyed_uniform(keys, (len(pairs),), PAIRS).double().log() / chance
    return pairs[waiting.topk(count, largest=False).indices]


def clamped_weights(rows: int, cols: int, radius: int, pairs: Tensor) -> Tensor:
    """Return the law (P,) of the published pair sampler.

    i is uniform, j uniform within the radius and clamped to the grid. Pairs at the border come up more often than
    others, which ``near_pairs`` with equal weights does not copy.
    """
    offsets = torch.cartesian_prod(torch.arange(-radius, radius + 1), torch.arange(-radius, radius + 1))
    cells = torch.arange(rows * cols)
    row = (cells[:, None] // cols + offsets[:, 0]).clamp(0, rows - 1)  # (n, offsets)
    col = (cells[:, None] % cols + offsets[:, 1]).clamp(0, cols - 1)
    hits = torch.zeros(rows * cols, rows * cols, dtype=torch.float64)
    hits.scatter_add_(1, row * cols + col, torch.ones_like(row, dtype=torch.float64))
    both = hits + hits.T
    return both[pairs[:, 0], pairs[:, 1]]


def check_pairs(pairs: Tensor, images: int, players: int) -> Tensor:
    """Check pairs (P, 2) or (B, P, 2), and return them as (B, P, 2) on the CPU.

    Raises:
        InputError: Another shape, a player outside 0..n-1, a player with itself, or a pair twice.
    """
    if not isinstance(pairs, Tensor) or pairs.dtype != torch.int64 or pairs.ndim not in (2, 3) or pairs.shape[-1] != 2:
        got = f"{pairs.dtype} {tuple(pairs.shape)}" if isinstance(pairs, Tensor) else type(pairs).__name__
        raise InputError(f"pairs must be int64 (P, 2) or ({images}, P, 2), got {got}")
    pairs = pairs.cpu()
    if pairs.ndim == 2:
        pairs = pairs.expand(images, -1, -1)
    if len(pairs) != images or pairs.shape[1] == 0:
        raise InputError(f"pairs must be (P, 2) or ({images}, P, 2) with P at least 1, got {tuple(pairs.shape)}")
    if int(pairs.min()) < 0 or int(pairs.max()) >= players:
        raise InputError(f"players are numbered 0..{players - 1}, pairs name {int(pairs.min())}..{int(pairs.max())}")
    code = (pairs.amin(2) * players + pairs.amax(2)).sort(1).values
    if bool((pairs[..., 0] == pairs[..., 1]).any()) or bool((code[:, 1:] == code[:, :-1]).any()):
        raise InputError("a pair names one player twice, or comes twice")
    return pairs
