"""An image game for several wrong classes at once."""

from __future__ import annotations

import torch
from torch import Tensor

from whywrong.explain.masking.players import ImageGame, PlayersConfig
from whywrong.explain.masking.values import CLASSES, ValueFunction, class_values
from whywrong.models.classifier import Classifier


class SeveralTargets(ImageGame):
    """An image game with T classes t for each image, all from the same passes.

    The values are that of the true class, then, for each of the T classes, its value and the difference to it.

    Args:
        classifier, x, y, config: As for :class:`ImageGame`.
        targets: (B, T) int64.
        value: Kind of value function.
    """

    def __init__(
        self, classifier: Classifier, x: Tensor, y: Tensor, *, targets: Tensor, value: str, config: PlayersConfig
    ) -> None:
        self._both = tuple(ValueFunction(kind=value, of=of) for of in CLASSES)
        super().__init__(classifier, x, y, target=targets[:, 0].clone(), functions=self._both, config=config)
        self.targets = targets.cpu()
        slots = range(1, self.targets.shape[1])
        self.names = (*self.names, *(f"{name}_{slot}" for slot in slots for name in self.names[1:]))

    def evaluate(self, masks: Tensor, rows: Tensor) -> Tensor:
        """Evaluate all targets with one pass per set, see :meth:`Game.evaluate`."""
        logits = self._shown.logits(masks, rows).cpu()
        y, targets = self._y[rows], self.targets[rows]
        values = [class_values(logits, y, targets[:, slot], self._both) for slot in range(targets.shape[1])]
        return torch.cat([values[0], *(one[:, 1:] for one in values[1:])], 1)
