"""Search along directions of a surrogate, and asking the black box about their length only."""

from __future__ import annotations

import torch
from torch import Tensor

from whywrong.attacks.black_box.config import BlackBoxConfig
from whywrong.attacks.black_box.history import History
from whywrong.attacks.black_box.planner import next_length
from whywrong.attacks.queries.call import QueryCall
from whywrong.attacks.surrogates.directions import DirectionConfig, directions


class DirectionSearch:
    """Search of one call along the directions of its surrogate.

    Args:
        call: Asks the black box within the budgets, and keeps the best images.
        history: Answers about the unchanged images.
        config: Settings.
    """

    def __init__(self, call: QueryCall, history: History, config: BlackBoxConfig) -> None:
        self.call, self.history, self.config = call, history, config
        self._clean = call.x.new_full((len(call.x),), torch.nan)
        self._best = self._clean.clone()

    def begin(self, rows: Tensor, margin: Tensor) -> None:
        """Take the margins (n,) of the unchanged images of ``rows`` (n,)."""
        self._clean[rows] = self._best[rows] = margin

    def run(self, rows: Tensor, most: int) -> None:
        """Compute one direction for each of ``rows`` (n,), and ask at most ``most`` images along it."""
        config, call = self.config, self.call
        ways = self._directions(rows)
        usable = ways.flatten(1).any(1)
        rows, ways = rows[usable], ways[usable]
        length = torch.full((len(rows),), min(config.first, config.eps * 255), device=rows.device)
        before = torch.zeros_like(length), self._clean[rows]
        spent = call.queries.clone()
        for asked in range(1, config.lengths + 1):
            stay = call.going_on(rows) & (call.queries[rows] - spent[rows] < most) & affordable(call, rows, config)
            rows, ways, length, before = rows[stay], ways[stay], length[stay], (before[0][stay], before[1][stay])
            if not len(rows):
                return
            pixels = call.ball.at(rows).nearest(call.ball.x[rows] + ways * (length / 255).view(-1, 1, 1, 1))
            answers = call.ask(rows, pixels)
            better = answers.reached | (answers.margin < self._best[rows])
            call.keep(rows[better], pixels[better], answers.at(better))
            self._best[rows[better]] = answers.margin[better]
            failed = ~answers.reached
            rows, ways, length, before = (
                rows[failed],
                ways[failed],
                length[failed],
                (before[0][failed], before[1][failed]),
            )
            if not len(rows):
                return
            margin = answers.margin[failed]
            self.history.add(rows, pixels[failed], answers.label[failed], margin)
            following = next_length(config, asked, length, margin, before)
            before, length = (length, margin), following
            stay = following.isfinite()
            rows, ways, length, before = rows[stay], ways[stay], length[stay], (before[0][stay], before[1][stay])

    def _directions(self, rows: Tensor) -> Tensor:
        config, history = self.config, self.history
        settings = DirectionConfig(steps=config.steps, step_size=config.step_size)
        x, y, keys = self.call.ball.x[rows], self.call.y[rows], self.call.keys[rows]
        ways = directions(history.models, x, y, keys, history.corrections(rows), settings)
        history.passes.index_add_(0, rows, torch.full_like(rows, 2 * config.steps * len(history.models)))
        return ways


def affordable(call: QueryCall, rows: Tensor, config: BlackBoxConfig) -> Tensor:
    """Select the first of ``rows`` (n,), as a mask, whose next image the budget of the whole call allows."""
    if config.total is None:
        return torch.ones_like(rows, dtype=torch.bool)
    left = config.total - call.queries.sum()
    return torch.arange(1, len(rows) + 1, device=rows.device) * (1 + config.confirm) <= left
