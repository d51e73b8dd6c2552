"""The game in which patch groups are found, with values of sets of patches and the class that wins."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from whywrong.core.errors import InputError, NonFiniteError
from whywrong.explain.masking.games import Game
from whywrong.explain.masking.players import ImageGame, PlayersConfig
from whywrong.explain.masking.values import LOG_ODDS, ValueFunction
from whywrong.models.classifier import Classifier

WINNER = "winner"


class PatchGame(ImageGame):
    """An :class:`ImageGame` whose last value, ``winner``, is the class with the highest logit (the lowest index if
    tied).

    The values of the whole image are cached: requesting them again costs no pass.

    Args:
        classifier, x, y, target, functions, config: As for :class:`ImageGame`.

    Attributes:
        predicted: (B,) int64, the winner on the whole images.
        faulty: Images for which the logits of some set were NaN or infinite.

    Raises:
        InputError, CannotDropTokens: As for :class:`ImageGame`.
    """

    def __init__(
        self,
        classifier: Classifier,
        x: Tensor,
        y: Tensor,
        *,
        target: Tensor | None = None,
        functions: Sequence[ValueFunction] = LOG_ODDS,
        config: PlayersConfig | None = None,
    ) -> None:
        super().__init__(classifier, x, y, target=target, functions=functions, config=config)
        self.names = (*self.names, WINNER)
        self.predicted = self.full.argmax(1)
        self.faulty: set[int] = set()

    def evaluate(self, masks: Tensor, rows: Tensor) -> Tensor:
        """Evaluate sets as :meth:`Game.evaluate` does."""
        whole = masks.all(1)
        logits = self.full[rows]
        if not bool(whole.all()):
            logits[~whole] = self.logits(masks[~whole], rows[~whole])
        self.faulty.update(rows[~logits.isfinite().all(1)].tolist())
        return torch.cat([self.of_logits(logits, rows), logits.argmax(1)[:, None].double()], 1)

    def values(self, masks: Tensor, rows: Tensor) -> Tensor:
        """Compute values as :meth:`Game.values` does.

        Passes that return NaN are counted too.
        """
        before = self.forwards.clone()
        try:
            found = super().values(masks, rows)
        except NonFiniteError:
            self.forwards = before + rows[~masks.all(1)].bincount(minlength=self.images)
            raise
        self.forwards = before + rows[~masks.all(1)].bincount(minlength=self.images)
        return found


def column(game: Game, name: str) -> int:
    """Return the index of a value among the values of a game.

    Raises:
        InputError: The game has no such value.
    """
    if name not in game.names:
        raise InputError(f'the game has no value "{name}"; it has {", ".join(game.names)}')
    return game.names.index(name)
