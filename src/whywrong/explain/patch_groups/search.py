"""What a greedy search is asked for, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

TIE = 1e-5  # values this near to the best, relative to its size above 1, are equal: the lowest player is taken


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Search:
    """One question put to some images of a game.

    Attributes:
        rows: (R,) int64, the images.
        value: (R,) int64, column of the game's values that decides.
        adds: Whether players are added one by one; else they are removed.
        highest: Whether the highest value is taken; else the lowest.
        steps: Most players added or removed, at least 0.
        start: (R, n) bool, players present at the start; None takes nobody where players are added, else all.
        watched: (R,) int64, class whose win or loss ends the search; None goes on to the last step.
        until_wins: Whether the search of an image ends when ``watched`` wins; else when it no longer does.
        flip_first: Whether a candidate that ends the search goes before all that do not; of several, the best. It is
            free, and finds a group of one wherever there is one. Plain greedy search looks at values alone.
        ask_start: Whether the start is asked about, one pass; without it its value is NaN. Needed with ``watched``.
        tie: Values this near to the best count as equal to it, relative to its size above 1.
        lazy: 0 asks about every candidate at every step. Else this many at a time, the one that last changed the value
            most first, and no more once the best answer beats what the others did when they were last asked. That is
            exact where gains only shrink from step to step, and otherwise an approximation. Needs ``ask_start``.
    """

    rows: Tensor
    value: Tensor
    adds: bool
    highest: bool
    steps: int
    start: Tensor | None = None
    watched: Tensor | None = None
    until_wins: bool = True
    flip_first: bool = False
    ask_start: bool = True
    tie: float = TIE
    lazy: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GreedyPath:
    """What a search found, one entry an image.

    Attributes:
        order: (R, K) int64, players in the order they were taken; -1 after the end.
        values: (R, K + 1) float64, the deciding value at the start and after each step; NaN after the end.
        length: (R,) int64, steps taken.
        found: (R,) bool, whether the watched class won or lost as asked; False where none is watched.
        winner: (R,) int64, the winning class at the end; -1 where the game does not tell.
        present: (R, n) bool, players present at the end.
        last: (R, n) float64, value of each candidate when it was last asked about; NaN for those never asked, or absent
            from the last step.
        spread: (R,) float64, highest minus lowest value of the first step; NaN where there was none.
        near_ties: (R,) int64, steps that a tie decided.
    """

    order: Tensor
    values: Tensor
    length: Tensor
    found: Tensor
    winner: Tensor
    present: Tensor
    last: Tensor
    spread: Tensor
    near_ties: Tensor
