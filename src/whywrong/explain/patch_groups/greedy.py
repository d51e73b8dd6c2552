"""Plain greedy search for groups of patches, with images, candidates and searches in one flat batch.

Source: MoXI, Sumiyasu et al. 2024, arXiv 2401.03785, Algorithms 1 and 2: insertion takes b_k = argmax_b v(S + b),
deletion b_k = argmin_b v(N without S + b). These equal the insertion form phi(b) + I(S, b) of the paper exactly, and
the deletion form phi(b) - I(S, b); the deletion formula as printed has another sign and weight, and is not used.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from whywrong.core.errors import InputError
from whywrong.explain.masking.games import Game
from whywrong.explain.patch_groups.game import WINNER, column
from whywrong.explain.patch_groups.search import TIE, GreedyPath, Search


class _Progress:
    """State of a search in progress."""

    def __init__(self, game: Game, search: Search) -> None:
        images, players = len(search.rows), game.players
        self.search = search
        start = torch.full((images, players), not search.adds) if search.start is None else search.start
        self.present = start.clone()
        movable = (~start if search.adds else start).sum(1)
        self.most = movable.clamp(max=search.steps)  # (R,)
        self.winner_column = game.names.index(WINNER) if WINNER in game.names else None
        if search.watched is not None and self.winner_column is None:
            raise InputError(f'a search that ends at a flip needs a game with the value "{WINNER}"')
        if (search.watched is not None or search.lazy) and not search.ask_start:
            raise InputError("a search that ends at a flip, or is lazy, has to ask about its start")
        steps = int(self.most.max()) if images else 0
        self.order = torch.full((images, steps), -1)
        self.values = torch.full((images, steps + 1), torch.nan, dtype=torch.float64)
        self.length = torch.zeros(images, dtype=torch.int64)
        self.found = torch.zeros(images, dtype=torch.bool)
        self.winner = torch.full((images,), -1)
        self.spread = torch.full((images,), torch.nan, dtype=torch.float64)
        self.near_ties = torch.zeros(images, dtype=torch.int64)
        # Per candidate: value and winning class at this step, value and gain when last evaluated.
        self.fresh = torch.full((images, players), torch.nan, dtype=torch.float64)
        self.won = torch.full((images, players), -1)
        self.last = self.fresh.clone()
        self.gain = torch.full_like(self.fresh, torch.inf)
        self.active = torch.zeros(0, dtype=torch.int64) if search.ask_start else (self.most > 0).nonzero().flatten()

    def begin(self, answers: Tensor) -> None:
        """Store the values (R, V) of all starting sets."""
        here = torch.arange(len(self.length))
        self.values[:, 0] = answers[here, self.search.value]
        self._settle(here, self._winners(answers))

    def candidates(self) -> tuple[Tensor, Tensor]:
        """Return the sets (Q, n) that are one step away, and their images (Q,)."""
        wanted = self._open()
        if self.search.lazy:
            gain = self.gain[self.active].masked_fill(~wanted, -torch.inf)
            place = gain.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
            wanted &= (place < self.search.lazy) | gain.isposinf()  # those never evaluated are evaluated together
        self.number, self.player = wanted.nonzero(as_tuple=True)
        sets = self.present[self.active][self.number]
        sets[torch.arange(len(sets)), self.player] = self.search.adds
        return sets, self.search.rows[self.active][self.number]

    def take(self, answers: Tensor) -> None:
        """Store the values (Q, V) of :meth:`candidates`.

        Images that need no more values take their best candidate.
        """
        row = self.active[self.number]
        value = answers.gather(1, self.search.value[row][:, None])[:, 0]
        self.fresh[row, self.player] = self.last[row, self.player] = value
        self.won[row, self.player] = self._winners(answers)
        change = value - self.values[row, self.length[row]]
        self.gain[row, self.player] = change if self.search.highest else -change
        if self.search.lazy:
            ready = self._best_beats_the_rest()
            self._commit(self.active[ready])
        else:
            self._commit(self.active)

    def _open(self) -> Tensor:
        """Select the candidates of the active images not evaluated at this step, (A, n)."""
        return (self.present[self.active] != self.search.adds) & self.fresh[self.active].isnan()

    def _best_beats_the_rest(self) -> Tensor:
        """Test whether no unevaluated candidate had a larger last known gain.

        Returns (A,) bool for the active images.
        """
        gain, still_open = self.gain[self.active], self._open()
        asked = gain.masked_fill(self.fresh[self.active].isnan(), -torch.inf)
        return asked.amax(1) > gain.masked_fill(~still_open, -torch.inf).amax(1)

    def _commit(self, here: Tensor) -> None:
        """Take the best candidate of images ``here``."""
        search, table = self.search, self.fresh[here]
        score = (table if search.highest else -table).nan_to_num(nan=-torch.inf)
        if search.flip_first and search.watched is not None:
            ends = ((self.won[here] == search.watched[here, None]) == search.until_wins) & ~table.isnan()
            score = score.masked_fill(ends.any(1, keepdim=True) & ~ends, -torch.inf)
        best = score.amax(1, keepdim=True)
        equal = score >= best - search.tie * best.abs().clamp_min(1)
        chosen = torch.where(equal, torch.arange(score.shape[1]), score.shape[1]).amin(1)
        step = self.length[here]
        self.spread[here] = torch.where(step == 0, _range(table), self.spread[here])
        self.near_ties[here] += (equal.sum(1) > 1).long()
        self.order[here, step] = chosen
        self.values[here, step + 1] = table[torch.arange(len(here)), chosen]
        self.present[here, chosen] = search.adds
        self.length[here] += 1
        self.fresh[here] = torch.nan
        self._settle(here, self.won[here, chosen])

    def _winners(self, answers: Tensor) -> Tensor:
        if self.winner_column is None:
            return torch.full((len(answers),), -1)
        return answers[:, self.winner_column].long()

    def _settle(self, here: Tensor, winner: Tensor) -> None:
        """Store the current winner, and remove finished images."""
        self.winner[here] = winner
        if self.search.watched is not None:
            wins = winner == self.search.watched[here]
            self.found[here] = wins if self.search.until_wins else ~wins
        done = self.found | (self.length >= self.most)
        still = torch.zeros_like(done)
        still[self.active] = True
        still[here] = True
        self.active = (still & ~done).nonzero().flatten()

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
    """Run plain greedy searches over the images of a game.

    Every round takes one step of every search for every unfinished image (of a lazy search, possibly part of a step); a
    set that several searches need is evaluated once. Images do not wait for each other: finished ones leave the batch.

    Args:
        game: Values of sets.
        searches: The searches.

    Returns:
        A path for each search.

    Raises:
        InputError: A search ends at a flip, and the game does not report the winner.
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
    """Evaluate lists of sets and images, each distinct pair once."""
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
    lazy: int = 0,
) -> GreedyPath:
    """Order the patches of every image of a game by insertion or by deletion.

    Args:
        game: Values of sets.
        value: Name of the value that decides.
        adds: True for insertion, which adds the player that raises the value most; False for deletion, which removes
            the player whose absence lowers it most.
        steps: k, largest number of players taken; None takes all n.
        watched: (B,) int64, class whose win (insertion) or loss (deletion) ends the search of an image; None never
            stops early.
        ask_start, tie, lazy: As for :class:`Search`.

    Returns:
        The path. Unless lazy, it evaluates k n - k (k - 1) / 2 sets per image, n (n + 1) / 2 for the full order, plus
        the start; the whole image is free in a :class:`~whywrong.explain.patch_groups.game.PatchGame`.

    Raises:
        InputError: The game has no such value, or steps is outside 1..n.
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
        lazy=lazy,
    )
    return greedy(game, [search])[0]


def whole_order(path: GreedyPath, *, highest: bool) -> Tensor:
    """Extend the order of a path by the players not taken.

    Returns (R, n) int64; the players not taken follow by their value in the last step.

    Args:
        path: At least one step long, starting from no player or from all.
        highest: Whether the search took the highest value; otherwise the lowest.
    """
    players = path.last.shape[1]
    row, step = (path.order >= 0).nonzero(as_tuple=True)
    place = torch.zeros(path.last.shape, dtype=torch.int64)
    place[row, path.order[row, step]] = step - players  # those taken, before all others
    by_value = (-path.last if highest else path.last).argsort(dim=1, stable=True)  # NaN sorts last
    return by_value.gather(1, place.gather(1, by_value).argsort(dim=1, stable=True))


def _range(table: Tensor) -> Tensor:
    return table.nan_to_num(nan=-torch.inf).amax(1) - table.nan_to_num(nan=torch.inf).amin(1)
