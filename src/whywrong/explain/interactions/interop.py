"""Conversion from and to shapiq, from any of its games and to its ``InteractionValues``.

A shapiq game is a callable from bool arrays (M, n) to values (M,), which :class:`FunctionGame` accepts directly.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from whywrong.core.errors import InputError
from whywrong.explain.interactions.profile import Profile
from whywrong.explain.masking.games import FunctionGame

if TYPE_CHECKING:
    from shapiq import InteractionValues


def from_shapiq(game: Any) -> FunctionGame:
    """Make a game of one image from a ``shapiq.Game`` or a similar callable.

    A callable needs an attribute ``n_players``.

    Raises:
        InputError: It is not callable, or has no number of players.
    """
    players = getattr(game, "n_players", None)
    if not callable(game) or isinstance(players, bool) or not isinstance(players, (int, np.integer)):
        raise InputError(
            f"a shapiq game is called with coalitions and has n_players, got {type(game).__name__}; "
            "for a plain function write FunctionGame(function, players)"
        )
    return FunctionGame(game, int(players))


def to_shapiq(
    profile: Profile, *, image: int = 0, value: str | None = None, order: int | None = None
) -> InteractionValues:
    """Convert the pairs of one image to ``shapiq.InteractionValues``.

    Players are numbered as in the profile.

    Args:
        profile: Result of :func:`estimate`.
        image: Row of the profile.
        value: One of ``profile.names``; may be omitted if there is only one.
        order: The interaction of this order s. None exports the Shapley interaction index (``SII``), the plain mean
            over all orders 0..n-2, which must then all be in the profile.

    Returns:
        Interactions of two players; pairs that were never drawn are omitted. ``estimated`` is False if everything was
        enumerated.

    Raises:
        InputError: Image, value or order do not exist, orders are missing for the index, or shapiq is not installed.
    """
    try:
        from shapiq import InteractionValues
    except ImportError:
        raise InputError("shapiq is not installed: pip install whywrong[shapiq]") from None
    if not 0 <= image < len(profile.forwards):
        raise InputError(f"image must be a row in 0..{len(profile.forwards) - 1}, got {image}")
    if value is None and len(profile.names) > 1:
        raise InputError(f"name the value: one of {', '.join(profile.names)}")
    if value is not None and value not in profile.names:
        raise InputError(f"value must be one of {', '.join(profile.names)}, got {value!r}")
    column = profile.names.index(value) if value else 0
    every = tuple(range(profile.players - 1))
    if order is not None and order not in profile.orders:
        raise InputError(f"order must be one of {list(profile.orders)}, got {order!r}")
    if order is None and tuple(sorted(profile.orders)) != every:
        raise InputError(
            f"the Shapley interaction index is the mean over all orders 0..{profile.players - 2}; the profile holds "
            f"{len(profile.orders)} of {len(every)}: estimate them all, or export one order"
        )
    rows = list(range(len(profile.orders))) if order is None else [profile.orders.index(order)]
    strength = profile.mean[image, rows, :, column].mean(0)  # (P,)
    known = strength.isfinite()
    pairs = profile.pairs[image][known].sort(1).values.tolist()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not a valid interaction index")  # it knows no single orders
        return InteractionValues(
            values=strength[known].numpy(),
            index="SII" if order is None else f"order-{order}",
            n_players=profile.players,
            min_order=2,
            max_order=2,
            interaction_lookup={(i, j): number for number, (i, j) in enumerate(pairs)},
            estimated=not all(profile.exact[row] for row in rows),
            estimation_budget=int(profile.forwards[image]),
        )
