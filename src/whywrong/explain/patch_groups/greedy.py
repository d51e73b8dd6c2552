"""Plain greedy search for groups of patches, over images, candidates and questions in one flat batch.

Source: MoXI, Sumiyasu et al. 2024, arXiv 2401.03785, Algorithms 1 and 2: insertion takes b_k = argmax_b v(S + b),
deletion b_k = argmin_b v(N without S + b). These equal the insertion form phi(b) + I(S, b) of the paper exactly, and
the deletion form phi(b) - I(S, b); the deletion formula as printed has another sign and weight, and is not used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from whywrong.core.errors import InputError
from whywrong.explain.interactions.games import Game
from whywrong.explain.patch_groups.game import WINNER, column

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
        ask_start: Whether the start is asked about, one pass; without it its value is NaN. Needed with ``watched``.
        tie: Values this near to the best count as equal to it, relative to its size above 1.
    """

    rows: Tensor
    value: Tensor
    adds: bool
    highest: bool
    steps: int
    start: Tensor | None = None
    watched: Tensor | None = None
    until_wins: bool = True
    ask_start: bool = True
    tie: float = TIE


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
        last: (R, n) float64, value of each candidate of the last step; NaN for the others.
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


class _Progress:
    """A search on its way."""

    def __init__(self, game: Game, search: Search) -> None:
        images, players = len(search.rows), game.players
        self.search = search
        start = torch.full((images, players), not search.adds) if search.start is None else search.start
        self.present = start.clone()
        movable = (~start if search.adds else start).sum(1)
        self.most = movable.clamp(max=search.steps)  # (R,)
        self.winner_column = game.names.index(WINNER) if WINNER in game.names else None
        if search.watched is not None and (self.winner_column is None or not search.ask_start):
            raise InputError(f'a search that ends at a flip needs a game with the value "{WINNER}" and its start asked')
        steps = int(self.most.max()) if images else 0
        self.order = torch.full((images, steps), -1)
        self.values = torch.full((images, steps + 1), torch.nan, dtype=torch.float64)
        self.length = torch.zeros(images, dtype=torch.int64)
        self.found = torch.zeros(images, dtype=torch.bool)
        self.winner = torch.full((images,), -1)
        self.last = torch.full((images, players), torch.nan, dtype=torch.float64)
        self.spread = torch.full((images,), torch.nan, dtype=torch.float64)
        self.near_ties = torch.zeros(images, dtype=torch.int64)
        self.active = torch.arange(images) if not search.ask_start else torch.zeros(0, dtype=torch.int64)

    def begin(self, answers: Tensor) -> None:
        """Values of all starts, (R, V)."""
        here = torch.arange(len(self.length))
        self.values[:, 0] = answers[here, self.search.value]
        self._settle(here, answers)

    def candidates(self) -> tuple[Tensor, Tensor]:
        """Sets (Q, n) that are one step away, and their images (Q,)."""
        movable = ~self.present[self.active] if self.search.adds else self.present[self.active]
        self.number, self.player = movable.nonzero(as_tuple=True)
        self.sets = self.present[self.active][self.number]
        self.sets[torch.arange(len(self.sets)), self.player] = self.search.adds
        return self.sets, self.search.rows[self.active][self.number]

    def take(self, answers: Tensor) -> None:
        """The best candidate of each image; ``answers`` (Q, V) are those of :meth:`candidates`."""
        here, search = self.active, self.search
        value = answers.gather(1, search.value[here][self.number][:, None])[:, 0]
        table = torch.full((len(here), self.present.shape[1]), torch.nan, dtype=torch.float64)
        table[self.number, self.player] = value
        score = table.nan_to_num(nan=-torch.inf) if search.highest else (-table).nan_to_num(nan=-torch.inf)
        best = score.amax(1, keepdim=True)
        equal = score >= best - search.tie * best.abs().clamp_min(1)
        chosen = torch.where(equal, torch.arange(score.shape[1]), score.shape[1]).amin(1)
        at = torch.full(table.shape, -1)
        at[self.number, self.player] = torch.arange(len(value))
        place = torch.arange(len(here))
        step = self.length[here]
        self.spread[here] = torch.where(step == 0, _range(table), self.spread[here])
        self.last[here] = table
        self.near_ties[here] += (equal.sum(1) > 1).long()
        self.order[here, step] = chosen
        self.values[here, step + 1] = table[place, chosen]
        self.present[here, chosen] = search.adds
        self.length[here] += 1
        self._settle(here, answers[at[place, chosen]])

    def _settle(self, here: Tensor, answers: Tensor) -> None:
        """Note who wins now, and let images that are done leave."""
        if self.winner_column is not None:
            self.winner[here] = answers[:, self.winner_column].long()
        if self.search.watched is not None:
            wins = self.winner[here] == self.search.watched[here]
            self.found[here] = wins if self.search.until_wins else ~wins
        self.active = here[~self.found[here] & (self.length[here] < self.most[here])]

    def path(self) -> GreedyPath:
        return GreedyPath(
            order=self.order,
            values=self.values,
            length=self.length,
            found=self.found,
            winner=self.winner,
            present=self.present,
            last=self.last,
            spread=self.spread,
            near_ties=self.near_ties,
        )


def greedy(game: Game, searches: Sequence[Search]) -> list[GreedyPath]:
    """Answer questions about images of a game, each by plain greedy search.

    Every round takes one step of every search of every image that is not done; a set that several searches want is
    asked for once. No image waits for another: those that are done leave the batch.

    Args:
        game: Values of sets.
        searches: The questions.

    Returns:
        A path for each search.

    Raises:
        InputError: A search ends at a flip, and the game does not tell the winner.
        NonFiniteError: A value is NaN or infinite.
    """
    under_way = [_Progress(game, search) for search in searches]
    starting = [progress for progress in under_way if progress.search.ask_start]
    answers = _ask(game, [(progress.present, progress.search.rows) for progress in starting])
    for progress, found in zip(starting, answers, strict=True):
        progress.begin(found)
    while moving := [progress for progress in under_way if len(progress.active)]:
        answers = _ask(game, [progress.candidates() for progress in moving])
        for progress, found in zip(moving, answers, strict=True):
            progress.take(found)
    return [progress.path() for progress in under_way]


def _ask(game: Game, lists: Sequence[tuple[Tensor, Tensor]]) -> list[Tensor]:
    """Values of lists of sets and images, none asked for twice."""
    if not lists:
        return []
    masks, rows = (torch.cat(part) for part in zip(*lists, strict=True))
    if len(lists) == 1:
        return [game.values(masks, rows)]
    packed = np.concatenate([np.packbits(masks.numpy(), axis=1), rows.numpy()[:, None].view(np.uint8)], axis=1)
    keys = np.ascontiguousarray(packed).view(np.dtype((np.void, packed.shape[1])))[:, 0]
    _, first, back = np.unique(keys, return_index=True, return_inverse=True)
    wanted = torch.from_numpy(first)
    values = game.values(masks[wanted], rows[wanted])[torch.from_numpy(back)]
    return list(values.split([len(part) for part, _ in lists]))


def greedy_order(
    game: Game,
    value: str,
    *,
    adds: bool,
    steps: int | None = None,
    watched: Tensor | None = None,
    ask_start: bool = True,
    tie: float = TIE,
) -> GreedyPath:
    """The order of patches of every image of a game, by insertion or by deletion.

    Args:
        game: Values of sets.
        value: Name of the value that decides.
        adds: True for insertion, which takes the player that raises the value most; False for deletion, which removes
            the one whose absence lowers it most.
        steps: k, most players taken; None takes all n.
        watched: (B,) int64, class at whose win (insertion) or loss (deletion) an image leaves; None for no such stop.
        ask_start: As of :class:`Search`.
        tie: As of :class:`Search`.

    Returns:
        The path. It asks for k n - k (k - 1) / 2 sets an image, n (n + 1) / 2 for the full order, and for the start;
        the whole image is free in a :class:`~whywrong.explain.patch_groups.game.PatchGame`.

    Raises:
        InputError: No such value; or steps below 1 or above n.
    """
    steps = game.players if steps is None else steps
    if isinstance(steps, bool) or not 1 <= steps <= game.players:
        raise InputError(f"steps must be in 1..{game.players}, the number of players, got {steps}")
    rows = torch.arange(game.images)
    search = Search(
        rows=rows,
        value=torch.full_like(rows, column(game, value)),
        adds=adds,
        highest=adds,
        steps=steps,
        watched=watched,
        until_wins=adds,
        ask_start=ask_start,
        tie=tie,
    )
    return greedy(game, [search])[0]


def whole_order(path: GreedyPath, *, highest: bool) -> Tensor:
    """(R, n) int64: the order of a path, followed by the players not taken, by their value in the last step.

    Args:
        path: With at least one step, from no player or from all.
        highest: Whether the search took the highest value.
    """
    players = path.last.shape[1]
    row, step = (path.order >= 0).nonzero(as_tuple=True)
    place = torch.zeros(path.last.shape, dtype=torch.int64)
    place[row, path.order[row, step]] = step - players  # those taken, before all others
    by_value = (-path.last if highest else path.last).argsort(dim=1, stable=True)  # NaN is sorted to the end
    return by_value.gather(1, place.gather(1, by_value).argsort(dim=1, stable=True))


def _range(table: Tensor) -> Tensor:
    return table.nan_to_num(nan=-torch.inf).amax(1) - table.nan_to_num(nan=torch.inf).amin(1)
