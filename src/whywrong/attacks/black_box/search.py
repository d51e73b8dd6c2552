"""Search along directions of a surrogate, and asking the black box about their length only."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from whywrong.attacks.black_box.config import BlackBoxConfig
from whywrong.attacks.black_box.history import History
from whywrong.attacks.black_box.planner import next_length
from whywrong.attacks.queries.answers import Answers
from whywrong.attacks.queries.call import QueryCall
from whywrong.attacks.surrogates.directions import DirectionConfig, directions


@dataclass(frozen=True, slots=True, eq=False)
class _Walk:
    """Walk of some rows (n,) along one direction each.

    ``start`` and ``ways`` are (n, C, H, W), ``length`` (n,) in grey levels is the next one to ask, ``before`` (n,) each
    the last one and its margin.
    """

    rows: Tensor
    start: Tensor
    ways: Tensor
    length: Tensor
    before: tuple[Tensor, Tensor]

    def at(self, some: Tensor) -> _Walk:
        """Select some rows by a mask."""
        before = self.before[0][some], self.before[1][some]
        return _Walk(self.rows[some], self.start[some], self.ways[some], self.length[some], before)


class DirectionSearch:
    """Search of one call along the directions of its surrogate.

    Args:
        call: Asks the black box within the budgets, and keeps the best images.
        history: Answers about the unchanged images.
        config: Settings.
    """

    def __init__(self, call: QueryCall, history: History, config: BlackBoxConfig) -> None:
        self.call, self.history, self.config = call, history, config
        self._margin = call.x.new_full((len(call.x),), torch.nan)
        self._best = call.ball.x.clone()

    def begin(self, rows: Tensor, margin: Tensor) -> None:
        """Take the margins (n,) of the unchanged images of ``rows`` (n,)."""
        self._margin[rows] = margin

    def run(self, rows: Tensor, most: int) -> None:
        """Compute one direction for each of ``rows`` (n,), and ask at most ``most`` images along it.

        With scores it starts at the best image so far, where the direction is not what it was at first.
        """
        config, call = self.config, self.call
        walk = self._walk(rows)
        spent = call.queries.clone()
        for asked in range(1, config.lengths + 1):
            rows = walk.rows
            within = call.queries[rows] - spent[rows] < most
            walk = walk.at(call.going_on(rows) & within & affordable(call, rows, config))
            if not len(walk.rows):
                return
            pixels = call.ball.at(walk.rows).nearest(walk.start + walk.ways * (walk.length / 255).view(-1, 1, 1, 1))
            answers = call.ask(walk.rows, pixels)
            self._keep(walk.rows, pixels, answers)
            failed = ~answers.reached
            walk, pixels, answers = walk.at(failed), pixels[failed], answers.at(failed)
            if not len(walk.rows):
                return
            self.history.add(walk.rows, pixels, answers.label, answers.margin)
            following = next_length(config, asked, walk.length, answers.margin, walk.before)
            walk = replace(walk, length=following, before=(walk.length, answers.margin)).at(following.isfinite())

    def _keep(self, rows: Tensor, pixels: Tensor, answers: Answers) -> None:
        first = self._margin[rows].isnan() & answers.margin.isfinite()  # the class has come among the listed ones
        better = answers.reached | (answers.margin < self._margin[rows]) | first
        self.call.keep(rows[better], pixels[better], answers.at(better))
        self._margin[rows[better]], self._best[rows[better]] = answers.margin[better], pixels[better]

    def _walk(self, rows: Tensor) -> _Walk:
        """Compute a direction for each of ``rows`` (n,); rows without one are left out."""
        ways, first = self._directions(rows), float(min(self.config.first, self.config.eps * 255))
        length = torch.full((len(rows),), first, device=rows.device)
        before = torch.zeros_like(length), self._margin[rows]
        return _Walk(rows, self._best[rows], ways, length, before).at(ways.flatten(1).any(1))

    def _directions(self, rows: Tensor) -> Tensor:
        config, history = self.config, self.history
        settings = DirectionConfig(steps=config.steps, step_size=config.step_size)
        x, y, keys = self._best[rows], self.call.y[rows], self.call.keys[rows]
        ways = directions(history.models, x, y, keys, history.corrections(rows), settings)
        history.passes.index_add_(0, rows, torch.full_like(rows, 2 * config.steps * len(history.models)))
        return ways


def affordable(call: QueryCall, rows: Tensor, config: BlackBoxConfig) -> Tensor:
    """Select the first of ``rows`` (n,), as a mask, whose next image the budget of the whole call allows."""
    if config.total is None:
        return torch.ones_like(rows, dtype=torch.bool)
    left = config.total - call.queries.sum()
    return torch.arange(1, len(rows) + 1, device=rows.device) * (1 + config.confirm) <= left
