"""Objectives of a counterfactual search, one value per image, with their gradients.

A search accesses the classifier only through an :class:`Objective`. Guidance by other models (a cone, an ensemble,
smoothing) is another objective with the same interface; :class:`ClassObjective` is the plain one.
"""

from __future__ import annotations

from typing import Literal, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn.functional import softplus

from whywrong.core.errors import InputError
from whywrong.core.margins import error_margin
from whywrong.models.classifier import Classifier

ObjectiveName = Literal["log_probability", "margin", "joint"]
OBJECTIVES: tuple[ObjectiveName, ...] = ("log_probability", "margin", "joint")


class Objective(Protocol):
    """A function of images and target classes that a search maximises."""

    @property
    def gradient_cost(self) -> tuple[int, int]:
        """Forward and backward passes of the explained classifier per image and call of :meth:`gradient`."""
        ...

    @property
    def value_cost(self) -> int:
        """Forward passes of the explained classifier per image and call of :meth:`value`."""
        ...

    @property
    def temperature(self) -> float:
        """Divides the logits before the softmax in every reported probability."""
        ...

    def gradient(self, z: Tensor, target: Tensor, keys: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Compute value, direction of ascent and logits.

        Args:
            z: (B, C, H, W), float32, in [0, 1].
            target: (B,), int64, class to reach.
            keys: (B,), int64, seeds of the noise of each image, for objectives that draw noise.

        Returns:
            Values (B,); their gradients (B, C, H, W), or directions that replace them; logits (B, K) of the explained
            classifier at ``z``. Rows may be NaN or infinite; the search freezes them.
        """
        ...

    def value(self, z: Tensor, target: Tensor, keys: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Compute value (B,) and logits (B, K), without gradient."""
        ...


@runtime_checkable
class OfRows(Protocol):
    """An objective that stores more than the target for each row of a search."""

    def at(self, rows: Tensor) -> Objective:
        """Return the objective for some rows (n,) int64, in their order.

        A search calls this when other rows have left.
        """
        ...


def at_rows(objective: Objective, rows: Tensor) -> Objective:
    """Return an objective for some rows of a search."""
    return objective.at(rows) if isinstance(objective, OfRows) else objective


class ClassObjective:
    """Log-probability of the target at a temperature, or its margin over the best other class.

    Args:
        classifier: Must grant gradients; the caller stays inside ``with classifier:``.
        kind: ``log_probability``, in nats, or ``margin``, in logits, which does not saturate.
        temperature: Divides the logits; the margin does not depend on it.
        bounded: Whether images must be in [0, 1]; noisy or denoised copies need not be.

    Raises:
        InputError: The kind is unknown, or the temperature is not positive.
    """

    gradient_cost = (1, 1)
    value_cost = 1

    def __init__(
        self,
        classifier: Classifier,
        kind: ObjectiveName = "log_probability",
        temperature: float = 1.0,
        *,
        bounded: bool = True,
    ) -> None:
        if kind == "joint":
            raise InputError("the joint objective needs the class that each row comes from: use JointObjective")
        if kind not in OBJECTIVES:
            raise InputError(f"objective must be one of {', '.join(OBJECTIVES)}, got {kind!r}")
        if not 0 < temperature < float("inf"):
            raise InputError(f"temperature must be positive and finite, got {temperature}")
        self.classifier, self.kind, self.temperature, self.bounded = classifier, kind, temperature, bounded

    def gradient(self, z: Tensor, target: Tensor, keys: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Compute what :meth:`Objective.gradient` returns.

        One forward and one backward pass per image.
        """

        def objective(logits: Tensor, rows: slice) -> Tensor:
            classes = target[rows].to(logits.device, copy=True)  # keep inference tensors out of the graph
            return self._of(logits, classes)

        logits, value, grad = self.classifier.gradient(z, objective, bounded=self.bounded)
        return value, grad, logits

    def value(self, z: Tensor, target: Tensor, keys: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Compute what :meth:`Objective.value` returns, with one forward pass per image."""
        logits = self.classifier.logits(z, bounded=self.bounded)
        return self._of(logits, target.to(logits.device)), logits

    def _of(self, logits: Tensor, target: Tensor) -> Tensor:
        if self.kind == "margin":
            return -error_margin(logits, target)
        return log_probability(logits, target, self.temperature)


class JointObjective:
    """The objective log p(target) - log p(source), in nats.

    It raises the target and lowers the class that the image comes from.

    The denominators cancel, so this is the difference of the two logits over the temperature: it does not saturate, and
    other classes may rise with the target.

    Source: ours, docs/methods/counterfactuals.md.

    Args:
        classifier: Must grant gradients; the caller stays inside ``with classifier:``.
        source: (B,), int64, the class to leave, one per row of the search; not the target.
        temperature: Divides the logits.

    Raises:
        InputError: The temperature is not positive.
    """

    gradient_cost = (1, 1)
    value_cost = 1

    def __init__(self, classifier: Classifier, source: Tensor, temperature: float = 1.0) -> None:
        if not 0 < temperature < float("inf"):
            raise InputError(f"temperature must be positive and finite, got {temperature}")
        self.classifier, self.source, self.temperature = classifier, source, temperature

    def at(self, rows: Tensor) -> JointObjective:
        """Return the objective for some rows."""
        return JointObjective(self.classifier, self.source[rows], self.temperature)

    def gradient(self, z: Tensor, target: Tensor, keys: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Compute what :meth:`Objective.gradient` returns.

        One forward and one backward pass per image.
        """

        def objective(logits: Tensor, rows: slice) -> Tensor:
            classes = (part[rows].to(logits.device, copy=True) for part in (target, self.source))
            return self._of(logits, *classes)

        logits, value, grad = self.classifier.gradient(z, objective)
        return value, grad, logits

    def value(self, z: Tensor, target: Tensor, keys: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Compute what :meth:`Objective.value` returns, with one forward pass per image."""
        logits = self.classifier.logits(z)
        return self._of(logits, target.to(logits.device), self.source.to(logits.device)), logits

    def _of(self, logits: Tensor, target: Tensor, source: Tensor) -> Tensor:
        up, down = (logits.gather(1, classes[:, None])[:, 0] for classes in (target, source))
        return (up - down) / self.temperature


def log_probability(logits: Tensor, target: Tensor, temperature: float = 1.0) -> Tensor:
    """Compute the log-probability (B,) of ``target`` at a temperature.

    In nats; differentiable.

    Computed against the other classes only, so that value and slope stay exact if the class is almost certain.
    """
    scaled = logits / temperature
    others = scaled.scatter(1, target[:, None], -torch.inf).logsumexp(1)
    return -softplus(others - scaled.gather(1, target[:, None])[:, 0])
