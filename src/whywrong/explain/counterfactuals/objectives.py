"""What a counterfactual search pushes up, one value an image, and how it is asked for with its gradient.

A search sees the classifier only through an :class:`Objective`. Guidance by other models (a cone, an ensemble,
smoothing) is another objective of the same form; :class:`ClassObjective` is the plain one.
"""

from __future__ import annotations

from typing import Literal, Protocol

import torch
from torch import Tensor
from torch.nn.functional import softplus

from whywrong.core.errors import InputError
from whywrong.core.margins import error_margin
from whywrong.models.classifier import Classifier

ObjectiveName = Literal["log_probability", "margin"]
OBJECTIVES: tuple[ObjectiveName, ...] = ("log_probability", "margin")


class Objective(Protocol):
    """A function of images and target classes, to be raised."""

    @property
    def gradient_cost(self) -> tuple[int, int]:
        """Forward and backward passes of the explained classifier that :meth:`gradient` takes an image."""
        ...

    @property
    def value_cost(self) -> int:
        """Forward passes of the explained classifier that :meth:`value` takes an image."""
        ...

    @property
    def temperature(self) -> float:
        """Divides the logits before the softmax wherever a probability is reported."""
        ...

    def gradient(self, z: Tensor, target: Tensor, keys: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Value, direction of ascent, logits.

        Args:
            z: (B, C, H, W), float32, in [0, 1].
            target: (B,), int64, class to reach.
            keys: (B,), int64, seeds of the images' own noise, for objectives that draw some.

        Returns:
            Values (B,); their gradients (B, C, H, W), or directions that stand for them; logits (B, K) of the
            explained classifier at ``z``. Rows may be NaN or infinite: they are frozen.
        """
        ...

    def value(self, z: Tensor, target: Tensor, keys: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Value (B,) and logits (B, K), without gradient."""
        ...


class ClassObjective:
    """log p(target) of a classifier at a temperature, or the margin of the target over the best other class.

    Args:
        classifier: Grants gradients; the caller stays inside ``with classifier:``.
        kind: ``log_probability``, in nats, or ``margin``, in logits, which no confidence saturates.
        temperature: Divides the logits; the margin is left as it is.

    Raises:
        InputError: Another kind, or a temperature that is not positive.
    """

    gradient_cost = (1, 1)
    value_cost = 1

    def __init__(
        self, classifier: Classifier, kind: ObjectiveName = "log_probability", temperature: float = 1.0
    ) -> None:
        if kind not in OBJECTIVES:
            raise InputError(f"objective must be one of {', '.join(OBJECTIVES)}, got {kind!r}")
        if not 0 < temperature < float("inf"):
            raise InputError(f"temperature must be positive and finite, got {temperature}")
        self.classifier, self.kind, self.temperature = classifier, kind, temperature

    def gradient(self, z: Tensor, target: Tensor, keys: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """As :meth:`Objective.gradient`; one forward and one backward pass an image."""

        def objective(logits: Tensor, rows: slice) -> Tensor:
            classes = target[rows].to(logits.device, copy=True)  # a caller's inference tensor may not enter the graph
            return self._of(logits, classes)

        logits, value, grad = self.classifier.gradient(z, objective)
        return value, grad, logits

    def value(self, z: Tensor, target: Tensor, keys: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """As :meth:`Objective.value`; one forward pass an image."""
        logits = self.classifier.logits(z)
        return self._of(logits, target.to(logits.device)), logits

    def _of(self, logits: Tensor, target: Tensor) -> Tensor:
        if self.kind == "margin":
            return -error_margin(logits, target)
        return log_probability(logits, target, self.temperature)


def log_probability(logits: Tensor, target: Tensor, temperature: float = 1.0) -> Tensor:
    """(B,), log of the softmax probability of ``target`` at a temperature, in nats; differentiable.

    Against the other classes only, so that value and slope stay exact where the class is all but certain.
    """
    scaled = logits / temperature
    others = scaled.scatter(1, target[:, None], -torch.inf).logsumexp(1)
    return -softplus(others - scaled.gather(1, target[:, None])[:, 0])
