"""Run passes through a model, with pixels in its format, counts, evaluation mode, and errors of our own types.

:mod:`whywrong.models.classifier` interprets the answers.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn

from whywrong.core.access import Access
from whywrong.core.errors import EnvironmentFailure, ModelError, ModelRaisedError, NotDifferentiableError
from whywrong.core.input_spec import InputSpec
from whywrong.models.chunks import Chunks
from whywrong.models.containment import Contained
from whywrong.models.devices import device_of_model
from whywrong.models.kinds import inspect_module
from whywrong.models.memory import device_errors, device_failed, out_of_memory
from whywrong.models.modes import EvaluationMode
from whywrong.models.numerics import ExactArithmetic, check_precision_name


class Passes:
    """A model that runs forward and backward passes.

    Arguments and attributes are those of :class:`whywrong.models.classifier.Classifier`.
    """

    def __init__(
        self,
        model: nn.Module | Callable[[Tensor], Any],
        *,
        preprocess: InputSpec | None,
        device: torch.device | str | None,
        precision: str,
        batch_size: int,
    ) -> None:
        kind = inspect_module(model) if isinstance(model, nn.Module) else None
        self.module = kind.module if kind else None
        self.model = self.module if self.module is not None else model
        self.highest_access = kind.access if kind else Access.SCORES
        self.device = device_of_model(device, kind.device if kind else None)
        self.precision = check_precision_name(precision)
        self.forwards: int = 0
        self.backwards: int = 0
        self.on_pass: Callable[[], None] | None = None
        self._mode = EvaluationMode(self.module)
        self._arithmetic = ExactArithmetic(self.device.type == "cuda" and precision == "exact")
        self._dtype = kind.dtype if kind else torch.float32
        # Convolutions on a CPU are up to three times as fast on channels-last pixels; the weights may stay as they are.
        channels_last = kind is not None and kind.convolutional and self.device.type == "cpu"
        self._chunks = Chunks(
            batch_size,
            channels_last=channels_last,
            limit=_largest_batch(model),
            release=torch.cuda.empty_cache if self.device.type == "cuda" else lambda: None,
        )
        mean_std = (preprocess.mean, preprocess.std) if preprocess and preprocess.mean and preprocess.std else None
        self._normalise = (
            tuple(torch.tensor(v, device=self.device, dtype=self._dtype).view(1, -1, 1, 1) for v in mean_std)
            if mean_std
            else None
        )

    @property
    def batch_size(self) -> int:
        """Images per pass."""
        return self._chunks.size

    @batch_size.setter
    def batch_size(self, size: int) -> None:
        self._chunks.resize(size)

    @property
    def largest_batch(self) -> int | None:
        """Largest batch that the model accepts; None while no limit is known."""
        return self._chunks.limit

    @property
    def left_in_train_mode(self) -> bool:
        """Whether the user's module is in training mode outside of our passes."""
        return self._mode.found_training

    def __enter__(self) -> Self:
        self._mode.__enter__()
        self._arithmetic.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._arithmetic.__exit__(kind, error, trace)
        self._mode.__exit__(kind, error, trace)

    def _passed(self) -> None:
        if self.on_pass is not None:
            self.on_pass()

    def _answer(self, x: Tensor) -> Any:
        layout = torch.channels_last if self._chunks.channels_last else torch.contiguous_format
        # Always a copy: a model that writes into its input must not change the caller's images.
        x = x.to(self.device, self._dtype, copy=True, memory_format=layout)
        if self._normalise is not None:
            x = (x - self._normalise[0]) / self._normalise[1]
        try:
            with Contained():
                return self.model(x)
        except (ModelError, EnvironmentFailure):
            raise
        except Exception as error:
            if out_of_memory(error) or device_failed(error):
                raise
            if "Inference tensors cannot be saved" in str(error):
                raise NotDifferentiableError(
                    "no gradient reaches the pixels: the weights were made in inference mode; load them outside of it"
                ) from error
            text = (str(error).strip().splitlines() or [""])[0]
            raise ModelRaisedError(f"the model raised {type(error).__name__}: {text}") from error

    def _differentiate(self, value: Tensor, pixels: Tensor, *, last: bool) -> Tensor:
        grad = None
        if value.requires_grad:
            try:
                ones = torch.ones_like(value)
                with Contained():  # a backward pass runs code of the model too
                    grad = torch.autograd.grad(value, pixels, ones, retain_graph=not last, allow_unused=True)[0]
            except ModelError:
                raise
            except RuntimeError as error:
                if out_of_memory(error) or device_failed(error) or self._chunks.wants_other_layout(error):
                    raise
                raise NotDifferentiableError(f"the backward pass of the model failed: {error}") from error
        if grad is None:
            raise NotDifferentiableError(
                "no gradient reaches the pixels: the model detaches, rounds or leaves torch on the way; "
                "use a method that needs scores or labels only"
            )
        self.backwards += len(pixels)
        self._passed()
        return grad.detach()

    def _run(self, x: Tensor, ask: Callable[[slice], Any], raised: dict[int, Exception] | None = None) -> list[Any]:
        """Run ``ask`` over slices of rows that fit, in evaluation mode; failed passes are neither counted nor kept."""

        def counted(rows: slice) -> Any:
            before = self.forwards, self.backwards
            try:
                return ask(rows)
            except BaseException as error:
                self.forwards, self.backwards = before
                if out_of_memory(error) and rows.stop - rows.start == 1:
                    raise EnvironmentFailure(
                        "one image alone does not fit into memory; free some, or use a smaller model or input"
                    ) from error
                raise

        with self, torch.inference_mode(False), torch.no_grad(), device_errors():
            return self._chunks.over(len(x), counted, raised)


def _largest_batch(model: Any) -> int | None:
    """Return the fixed batch size that a callable states; anything else of that name belongs to the model."""
    limit = getattr(model, "largest_batch", None)
    return limit if type(limit) is int and limit > 0 else None
