"""Value functions, which compute the value of a set of visible players from the logits of one pass.

Source: multi-order interactions, Deng et al. 2022 (log-odds), Ren et al. 2021 (log-probability). Every function is
computed in float64 from the same logits, so several functions cost no further pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from whywrong.core.checks import check_classes, check_labels
from whywrong.core.errors import InputError
from whywrong.core.margins import error_margin

KINDS = ("log_odds", "log_prob", "logit", "margin")
CLASSES = ("true", "target", "difference")


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueFunction:
    """A value function and its class.

    Attributes:
        kind: ``log_odds``, log(p_c / (1 - p_c)) = z_c - logsumexp of the other logits; ``log_prob``, log p_c in nats;
            ``logit``, z_c; ``margin``, z_c minus the best other logit.
        of: ``true`` for c = y, evidence for the label; ``target`` for c = t, the predicted class of an error;
            ``difference`` for the value of y minus the value of t.
    """

    kind: str = "log_odds"
    of: str = "true"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"a value function is one of {', '.join(KINDS)}, got {self.kind!r}")
        if self.of not in CLASSES:
            raise InputError(f"a value function speaks of one of {', '.join(CLASSES)}, got {self.of!r}")

    @property
    def name(self) -> str:
        """Name in columns and figures, such as ``log_odds_true``."""
        return f"{self.kind}_{self.of}"


LOG_ODDS = tuple(ValueFunction(of=of) for of in CLASSES)


def class_values(logits: Tensor, y: Tensor, target: Tensor, functions: Sequence[ValueFunction] = LOG_ODDS) -> Tensor:
    """Compute value functions from rows of logits.

    Args:
        logits: (B, K), K >= 2; rows that are not finite give values that are not finite.
        y: True class, (B,), int64, in 0..K-1.
        target: Class t to compare with, (B,), int64, in 0..K-1.
        functions: V distinct value functions.

    Returns:
        (B, V) float64, in nats or logits. Log-odds come from differences of logits, never from probabilities: they stay
        finite if a probability rounds to 1.

    Raises:
        InputError: A shape, type or class breaks the contract above.
    """
    if not isinstance(logits, Tensor) or logits.ndim != 2 or not logits.is_floating_point():
        got = f"{logits.dtype} {tuple(logits.shape)}" if isinstance(logits, Tensor) else type(logits).__name__
        raise InputError(f"logits must be a floating-point tensor (B, K), got {got}")
    check_value_functions(functions)
    check_classes(logits.shape[1])
    check_labels(y, len(logits), logits.shape[1])
    check_labels(target, len(logits), logits.shape[1], what="target class")
    z = logits.detach().double()
    known: dict[tuple[str, str], Tensor] = {}

    def value(kind: str, of: str) -> Tensor:
        if (kind, of) not in known:
            known[kind, of] = (
                value(kind, "true") - value(kind, "target")
                if of == "difference"
                else _of_class(kind, z, y if of == "true" else target)
            )
        return known[kind, of]

    return torch.stack([value(function.kind, function.of) for function in functions], 1)


def check_value_functions(functions: Sequence[ValueFunction]) -> None:
    """Refuse an empty list, a duplicate, or an invalid value function.

    Raises:
        InputError: The message says which.
    """
    odd = [function for function in functions if not isinstance(function, ValueFunction)]
    if odd:
        raise InputError(f"value functions must be ValueFunction, got {odd[0]!r}")
    if not functions or len(set(functions)) != len(functions):
        raise InputError(f"name at least one value function and none twice, got {[f.name for f in functions]}")


def _of_class(kind: str, z: Tensor, c: Tensor) -> Tensor:
    own = z.gather(1, c[:, None])[:, 0]
    if kind == "logit":
        return own
    if kind == "margin":
        return -error_margin(z, c)
    if kind == "log_prob":
        return own - z.logsumexp(1)
    return own - z.scatter(1, c[:, None], -torch.inf).logsumexp(1)
