"""State and result shared by the attacks: the goal, passes per image, and the best change so far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from whywrong.attacks.balls import norm_of
from whywrong.attacks.objectives import AttackLoss, attack_loss, least_classes, usable
from whywrong.core.access import Access
from whywrong.core.result import MethodResult, column, computed, map_field, result_class
from whywrong.core.status import Status
from whywrong.models.classifier import Classifier
from whywrong.models.method_call import MethodCall


@result_class
class AttackResult(MethodResult):
    """Changed images of a batch and their cost. Distances are in units of the [0, 1] pixel range.

    ``logits`` (B, K) are those of ``x_adv``; NaN if it was not evaluated.
    """

    status: Sequence[Status] = column(
        "string",
        "`ok` (the goal is reached), `no_answer` (it is not), `already_correct` (it held before any change), "
        "`bad_input` or `refused` (scores of the unchanged image are not finite).",
    )
    l2: Tensor = column("float32", "l2 norm of the change.")
    linf: Tensor = column("float32", "linf norm of the change.")
    x_adv: Tensor = map_field(
        "(B, C, H, W), in [0, 1], the changed image; the image itself where it needed no change or where its pixels or "
        "scores are not usable."
    )
    logits: Tensor
    reason: Sequence[str | None]
    forwards: Tensor
    backwards: Tensor

    @computed("bool")
    def success(self) -> Tensor:
        """Whether ``x_adv`` is not predicted as the true class; with targets, whether it is predicted as its target."""
        reached = [word in (Status.OK, Status.ALREADY_CORRECT) for word in self.status]
        return torch.tensor(reached, dtype=torch.bool, device=self.l2.device)

    @computed("int64")
    def predicted(self) -> Tensor:
        """Class of ``x_adv``; -1 where its scores are not finite."""
        return predicted_classes(self.logits)


ResultT = TypeVar("ResultT", bound=AttackResult)


class AttackState(MethodCall):
    """A :class:`MethodCall` of an attack, with its goal and the best change of each row so far.

    Args:
        classifier, x, y: The classifier, the images and their classes, as for every method.
        targets: (B,), int64, target classes; None for any class but ``y``.
        keys: (B,), int64; None derives them from ``seed`` and the row index.
        seed: Seed of the keys.
        loss: Loss that :meth:`ascend` differentiates and :meth:`loss` computes.
        access: The least access that the attack needs; scores are enough for one that only calls :meth:`test`.

    Attributes:
        found: (B,), bool, rows whose best change reaches the goal.

    Raises:
        InputError: A shape, type or class is invalid.
        AccessError: The classifier grants less than ``access``.
    """

    def __init__(
        self,
        classifier: Classifier,
        x: Tensor,
        y: Tensor,
        *,
        targets: Tensor | None,
        keys: Tensor | None,
        seed: int,
        loss: AttackLoss,
        access: Access = Access.GRADIENTS,
    ) -> None:
        self._targeted = targets is not None
        self._loss: AttackLoss = loss
        least = least_classes(loss, targeted=self._targeted)
        what = "an attack with gradients" if access >= Access.GRADIENTS else "an attack"
        super().__init__(classifier, x, y, method=what, access=access, keys=keys, seed=seed, classes=least)
        if targets is not None:
            self.add_classes("target", targets)
        self._classes = (y if targets is None else targets).to(x.device)
        self._best = self.x.clone()
        self._score = self.x.new_full((len(x),), -torch.inf)
        self._logits = self.x.new_full((len(x), classifier.num_classes if classifier.classes else 0), torch.nan)
        self.found = torch.zeros_like(self.detail)

    def begin(self) -> Tensor:
        """Evaluate the unchanged images and return the rows (n,) left to attack."""
        rows, logits = self.clean_pass()
        if not len(rows):
            return rows
        self._logits = self._logits.new_full((len(self.x), logits.shape[1]), torch.nan)
        self._logits[rows] = logits
        there = self.reached(rows, logits)
        self.mark(rows[there], Status.ALREADY_CORRECT)
        return rows[~there]

    def ascend(self, rows: Tensor, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute logits (n, K), loss (n,) and the gradient (n, C, H, W) of the loss.

        One forward and one backward pass each. Values that are not finite become minus infinity in the loss and zero in
        the gradient.
        """
        classes = self._classes[rows]

        def objective(logits: Tensor, part: slice) -> Tensor:
            chosen = classes[part].to(logits.device, copy=True)  # no inference tensor may enter the graph
            return attack_loss(self._loss, logits, chosen, targeted=self._targeted)

        logits, loss, grad = self.gradient(rows, pixels, objective)
        return logits, usable(loss), torch.nan_to_num(grad, 0.0, 0.0, 0.0)

    def loss(self, rows: Tensor, logits: Tensor) -> Tensor:
        """Compute the loss (n,) of given logits (n, K)."""
        return usable(attack_loss(self._loss, logits, self._classes[rows], targeted=self._targeted))

    def reached(self, rows: Tensor, logits: Tensor) -> Tensor:
        """Check if the goal is reached, (n,) bool, False if a score is not finite."""
        predicted, classes = predicted_classes(logits), self._classes[rows]
        return predicted == classes if self._targeted else (predicted != classes) & (predicted >= 0)

    def keep(self, rows: Tensor, pixels: Tensor, logits: Tensor, score: Tensor) -> Tensor:
        """Keep changes that are better than the best so far.

        A reached goal comes first, then the higher ``score`` (n,).

        Returns:
            (n,), bool: whether these pixels reach the goal.
        """
        reached, found = self.reached(rows, logits), self.found[rows]
        better = (reached & ~found) | ((reached == found) & (score > self._score[rows]))
        self._score[rows[better]] = score[better]
        self.put(rows[better], pixels[better], logits[better])
        return reached

    def put(self, rows: Tensor, pixels: Tensor, logits: Tensor) -> None:
        """Set the best change of ``rows`` to these pixels, unconditionally."""
        self._best[rows], self._logits[rows] = pixels, logits
        self.found[rows] = self.reached(rows, logits)

    def change(self) -> Tensor:
        """Return the best change of every row.

        (B, C, H, W), zero where the pixels are not usable.
        """
        return torch.nan_to_num(self._best - self.x, 0.0)

    def result(self, kind: type[ResultT], **extra: Any) -> ResultT:
        """Build the result of this attack, with its own fields in ``extra``."""
        rows = self.rows
        self.mark(rows[~self.found[rows]], Status.NO_ANSWER)
        change = self.change()
        return kind(
            x_adv=self._best,
            logits=self._logits,
            l2=norm_of(change, "l2"),
            linf=norm_of(change, "linf"),
            **self.outcome(),
            **extra,
        )


def predicted_classes(logits: Tensor) -> Tensor:
    """Return the highest-scoring class, (B,) int64, or -1 if a score is not finite."""
    if not logits.shape[1]:
        return torch.full((len(logits),), -1, device=logits.device)
    return logits.argmax(1).where(logits.isfinite().all(1), -1)
