"""Games, which assign values to sets of players for one or many images.

A set (coalition) is a row of booleans over the players, True if the player is present. Estimators pass flat lists of
sets to a game, so that sets of all images share one batch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from whywrong.core.errors import InputError, NonFiniteError

MOST_TABLE_PLAYERS = 20
FEWEST_PLAYERS = 3


class Game(ABC):
    """Values of sets of players, for a batch of images.

    Args:
        images: B, at least 1.
        players: n, at least 3.
        names: Names of the V values.

    Attributes:
        images, players, names: As given.
        setup: Passes per image before the first set was evaluated.
        forwards: (B,) int64, passes so far, by image.

    Raises:
        InputError: Fewer than three players, or no image.
    """

    setup = 0

    def __init__(self, images: int, players: int, names: Sequence[str]) -> None:
        if players < FEWEST_PLAYERS:
            raise InputError(f"interactions need at least {FEWEST_PLAYERS} players, got {players}")
        if images < 1:
            raise InputError("a game needs at least one image")
        self.images = images
        self.players = players
        self.names = tuple(names)
        self.forwards = torch.full((images,), self.setup, dtype=torch.int64)

    def rounding(self) -> Tensor:
        """Return how far apart values can be by rounding alone, (B,) float64.

        Smaller interactions count as zero. 0 if values are exact.
        """
        return torch.zeros(self.images, dtype=torch.float64)

    @abstractmethod
    def evaluate(self, masks: Tensor, rows: Tensor) -> Tensor:
        """Evaluate sets that :meth:`values` has checked, (Q, V) float64 on the CPU."""

    def values(self, masks: Tensor, rows: Tensor) -> Tensor:
        """Evaluate a flat list of sets.

        Args:
            masks: (Q, n) bool, on the CPU.
            rows: (Q,) int64, the image each set belongs to, in 0..B-1.

        Returns:
            (Q, V) float64 on the CPU.

        Raises:
            InputError: Masks or rows are invalid.
            NonFiniteError: A value is NaN or infinite; names image and set.
        """
        if masks.dtype != torch.bool or masks.ndim != 2 or masks.shape[1] != self.players:
            raise InputError(f"masks must be bool (Q, {self.players}), got {masks.dtype} {tuple(masks.shape)}")
        if rows.dtype != torch.int64 or rows.shape != masks.shape[:1]:
            raise InputError(f"rows must be int64 ({len(masks)},), got {rows.dtype} {tuple(rows.shape)}")
        if len(rows) and not (int(rows.min()) >= 0 and int(rows.max()) < self.images):
            raise InputError(f"rows must lie in 0..{self.images - 1}, got {int(rows.min())}..{int(rows.max())}")
        if len(rows) == 0:
            return torch.zeros(0, len(self.names), dtype=torch.float64)
        found = self.evaluate(masks, rows)
        bad = (~found.isfinite().all(1)).nonzero().flatten()
        if len(bad):
            first = int(bad[0])
            present = masks[first].nonzero().flatten().tolist()
            shown = ", ".join(map(str, present[:12])) + (", ..." if len(present) > 12 else "")
            raise NonFiniteError(
                f"the value of image {int(rows[first])} with players [{shown}] present is NaN or infinite; "
                "interactions need finite logits for every masked image"
            )
        self.forwards += rows.bincount(minlength=self.images)
        return found

    def __call__(self, masks: Tensor) -> Tensor:
        """Evaluate masks (B, M, n) bool, M sets of each image.

        Returns (B, M, V) float64.

        Raises:
            InputError, NonFiniteError: As for :meth:`values`.
        """
        if masks.ndim != 3 or len(masks) != self.images:
            raise InputError(f"masks must be ({self.images}, M, {self.players}), got {tuple(masks.shape)}")
        rows = torch.arange(self.images).repeat_interleave(masks.shape[1])
        return self.values(masks.flatten(0, 1), rows).unflatten(0, masks.shape[:2])


class FunctionGame(Game):
    """Any function from sets to values, as ``shapiq`` takes them.

    Args:
        functions: One callable per image, or one callable for a single image: from bool arrays (M, n) to values (M,) or
            (M, V).
        players: n.
        names: Names of the V values; ``value`` by default if a function returns (M,).

    Raises:
        InputError: There is no function; or a function returns another shape when evaluated.
    """

    def __init__(
        self,
        functions: Callable[[np.ndarray], Any] | Sequence[Callable[[np.ndarray], Any]],
        players: int,
        names: Sequence[str] = ("value",),
    ) -> None:
        self._functions = [functions] if callable(functions) else list(functions)
        super().__init__(len(self._functions), players, names)

    def evaluate(self, masks: Tensor, rows: Tensor) -> Tensor:
        """Call each function once for all of its sets, see :meth:`Game.evaluate`."""
        found = torch.empty(len(masks), len(self.names), dtype=torch.float64)
        for image in rows.unique().tolist():
            mine = rows == image
            answer = self._functions[image](masks[mine].numpy())
            value = torch.as_tensor(np.asarray(answer, dtype=np.float64)).view(int(mine.sum()), -1)
            if value.shape[1] != len(self.names):
                raise InputError(
                    f"the game of image {image} gave values {tuple(np.shape(answer))} for {int(mine.sum())} sets, "
                    f"expected ({int(mine.sum())},) or ({int(mine.sum())}, {len(self.names)})"
                )
            found[mine] = value
        return found


class TableGame(Game):
    """A game whose values are all known.

    Args:
        table: (B, 2^n) or (B, 2^n, V), floating point; entry ``sum of 2^i over the players i present``.
        names: Names of the V values; by default ``value``, or ``value_0``, ``value_1`` ...

    Raises:
        InputError: The shape is wrong, or there are more than 20 players.
    """

    def __init__(self, table: Tensor, names: Sequence[str] | None = None) -> None:
        if table.ndim not in (2, 3) or not table.is_floating_point():
            raise InputError(f"a table must be floating point (B, 2^n) or (B, 2^n, V), got {tuple(table.shape)}")
        players = table.shape[1].bit_length() - 1
        if table.shape[1] != 1 << players or players > MOST_TABLE_PLAYERS:
            raise InputError(f"a table has 2^n entries, n <= {MOST_TABLE_PLAYERS}, got {table.shape[1]}")
        self.table = (table if table.ndim == 3 else table[:, :, None]).double().cpu()
        count = self.table.shape[2]
        default = ["value"] if count == 1 else [f"value_{i}" for i in range(count)]
        super().__init__(len(table), players, names or default)
        self._bits = 2 ** torch.arange(players)

    def evaluate(self, masks: Tensor, rows: Tensor) -> Tensor:
        """Look values up in the table, see :meth:`Game.evaluate`."""
        return self.table[rows, masks.long() @ self._bits]
