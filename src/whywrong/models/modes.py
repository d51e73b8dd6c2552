"""Switch a module to evaluation mode and its parameters to no gradients inside a context."""

from __future__ import annotations

from types import TracebackType

from torch import nn


class EvaluationMode:
    """Re-entrant context manager that switches a module to evaluation mode.

    Every flag is restored on exit, even after an exception.

    Args:
        module: None if there is nothing to switch.
    """

    def __init__(self, module: nn.Module | None) -> None:
        self._module = module
        self._entered = 0
        self._training: list[nn.Module] = []
        self._trainable: list[nn.Parameter] = []

    @property
    def found_training(self) -> bool:
        """Whether a part of the module is in training mode outside of the context."""
        return bool(self._training if self._entered else self._in_training_mode())

    def __enter__(self) -> EvaluationMode:
        if self._entered == 0 and self._module is not None:
            self._training = self._in_training_mode()
            # Weights created in inference mode take no gradients, and torch forbids setting the flag.
            self._trainable = [p for p in self._module.parameters() if p.requires_grad and not p.is_inference()]
            for part in self._training:
                part.training = False  # not .eval(), which a user may have overridden and which recurses
            for parameter in self._trainable:
                parameter.requires_grad_(False)
        self._entered += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._entered -= 1
        if self._entered == 0:
            for part in self._training:
                part.training = True
            for parameter in self._trainable:
                parameter.requires_grad_(True)
            self._training, self._trainable = [], []

    def _in_training_mode(self) -> list[nn.Module]:
        if self._module is None:
            return []
        return [
            part for part in self._module.modules() if getattr(part, "training", False)
        ]  # frozen TorchScript has none
