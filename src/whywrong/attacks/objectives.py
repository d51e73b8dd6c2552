"""Losses that gradient attacks maximise, one value per image."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import softplus

from whywrong.core.errors import InputError
from whywrong.core.margins import error_margin

AttackLoss = Literal["ce", "dlr", "margin"]
LOSSES: tuple[AttackLoss, ...] = ("ce", "dlr", "margin")


def attack_loss(name: AttackLoss, logits: Tensor, classes: Tensor, *, targeted: bool) -> Tensor:
    """Compute the loss to maximise, away from ``classes`` or toward targets.

    Args:
        name: ``ce``, cross entropy in nats; ``margin``, best other class minus the class, in logits; ``dlr``, the
            difference of logits ratio of Croce and Hein 2020, which is invariant to scale and shift of the logits.
        logits: (b, K).
        classes: (b,), int64: true classes, or targets.
        targeted: Whether ``classes`` are targets.

    Returns:
        (b,), differentiable. ``dlr`` and ``margin`` are positive once the goal is reached.

    Source: Croce and Hein 2020, arXiv 2003.01690, equations 5 and 6. The targeted ratio has the best class other than
    the target where the paper has the true class, since only then is it positive exactly for a reached target.
    """
    sign = -1.0 if targeted else 1.0
    if name == "ce":
        # Computed against the other classes, so that value and slope stay exact if the class is almost certain.
        others = logits.scatter(1, classes[:, None], -torch.inf).logsumexp(1)
        return sign * softplus(others - logits.gather(1, classes[:, None])[:, 0])
    margin = sign * error_margin(logits, classes)
    if name == "margin":
        return margin
    top = logits.topk(least_classes(name, targeted=targeted), dim=1).values
    spread = top[:, 0] - (top[:, 2:].mean(1))  # third, or mean of third and fourth
    return margin / (spread + 1e-12)


def least_classes(name: AttackLoss, *, targeted: bool) -> int:
    """Return the least number of classes for a loss."""
    return (4 if targeted else 3) if name == "dlr" else 2


def check_loss(name: str, allowed: tuple[AttackLoss, ...] = LOSSES) -> None:
    """Check that a loss is ``allowed``.

    Raises:
        InputError: The message names the losses.
    """
    if name not in allowed:
        raise InputError(f"loss must be one of {', '.join(allowed)}, got {name!r}")


def usable(loss: Tensor) -> Tensor:
    """Replace NaN by minus infinity, so that such an image is never the best."""
    return torch.nan_to_num(loss, -torch.inf, torch.inf, -torch.inf)
