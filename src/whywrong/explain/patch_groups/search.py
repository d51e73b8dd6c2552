"""Request and result of a greedy search."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

TIE = 1e-5  # values this close to the best (relative if it exceeds 1) are tied: the lowest player wins


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Search:
    """Settings of a greedy search over some images of a game.

    Attributes:
        rows: (R,) int64, the images.
        value: (R,) int64, column of the game's values that decides.
        adds: Whether players are added one by one; otherwise they are removed.
        highest: Whether the highest value is taken; otherwise the lowest.
        steps: Largest number of players added or removed, at least 0.
        start: (R, n) bool, players present at the start; None starts from no player if players are added, otherwise
            from all.
        watched: (R,) int64, class whose win or loss ends the search; None continues to the last step.
        until_wins: Whether the search of an image ends when ``watched`` wins; otherwise when it no longer wins.
        flip_first: Whether a candidate that ends the search is preferred to all others; of several, the best. This
            costs no pass and always finds a group of one patch if one exists. Plain greedy search only compares values.
        ask_start: Whether the start is evaluated, which costs one pass; otherwise its value is NaN. Required with
            ``watched``.
        tie: Values this close to the best count as equal to it; relative to the best if that exceeds 1.
        lazy: 0 evaluates every candidate at every step. Otherwise this many at a time, in the order of their last known
            gain, until the best gain exceeds the last known gains of all others. This is exact if gains only shrink
            from step to step, and otherwise an approximation. Requires ``ask_start``.
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
    """Result of a greedy search, one entry per image.

    Attributes:
        order: (R, K) int64, players in the order they were taken; -1 after the end.
        values: (R, K + 1) float64, the deciding value at the start and after each step; NaN after the end.
        length: (R,) int64, steps taken.
        found: (R,) bool, whether the watched class won or lost as required; False if none is watched.
        winner: (R,) int64, the winning class at the end; -1 if the game does not report it.
        present: (R, n) bool, players present at the end.
        last: (R, n) float64, value of each candidate when it was last evaluated; NaN if it was never evaluated or is
            absent from the last step.
        spread: (R,) float64, highest minus lowest value of the first step; NaN if there was none.
        near_ties: (R,) int64, steps that were decided by a tie.
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
