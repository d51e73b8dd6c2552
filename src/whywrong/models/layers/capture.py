"""Read the activation of a layer during one pass, and cut the gradient graph there."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from whywrong.core.errors import ModelError
from whywrong.models.layers.grids import Layout
from whywrong.models.layers.heads import LinearHead


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SpatialLayer:
    """The last spatial layer of a classifier.

    Attributes:
        name: Name of the module, or ``op[n]`` for the n-th call of a torch function that is not the output of a module.
        kind: ``conv`` for feature maps, ``tokens`` for a sequence.
        layout: Positions of rows, columns, channels and prefix tokens.
        shape: Shape of the activation without the batch.
        op: The torch function that computes it; None if it is the output of a module.
        occurrence: Number of earlier calls of the function or module in one pass.
        constant: (K,), logits for a zero activation.
        complete: Whether the sum of gradient times activation equals the logits minus ``constant``.
        head: The linear head after it, for which CAM is exact; None if there is none.
    """

    name: str
    kind: Literal["conv", "tokens"]
    layout: Layout
    shape: tuple[int, ...]
    op: str | None
    occurrence: int
    constant: Tensor
    complete: bool = False
    head: LinearHead | None = None

    @property
    def grid(self) -> tuple[int, int]:
        """Number of rows and columns."""
        return self.layout.rows, self.layout.cols

    @property
    def prefix_tokens(self) -> int:
        """Number of tokens before those of the grid."""
        return self.layout.prefix

    @property
    def channels_last(self) -> bool:
        """Whether channels are the last axis."""
        return self.layout.channel_axis == -1


class Capture:
    """Result of :func:`capture`.

    Attributes:
        activation: (B, ...), a clone, unaffected by in-place operations; a leaf of the graph if requested.
    """

    activation: Tensor

    def __init__(self) -> None:
        self.seen = False


@contextmanager
def capture(module: nn.Module, layer: SpatialLayer, *, leaf: bool = False, scale: float = 1.0) -> Iterator[Capture]:
    """Read the activation of a layer during one pass.

    Args:
        module: The classifier.
        layer: The layer to read.
        leaf: Cut the graph there. The activation becomes a leaf that requires a gradient, and the model continues with
            a copy of it, so that in-place operations do no harm.
        scale: Factor on the activation with which the model continues; 0 replaces it by zeros.

    Yields:
        The capture, filled when the pass has ended.

    Raises:
        ModelError: On exit, if the layer was not reached or its shape has changed since it was found.
    """
    seen = Capture()

    def take(out: Tensor) -> Tensor:
        if tuple(out.shape[1:]) != layer.shape:
            raise ModelError(
                f"layer {layer.name} gave {layer.shape} when it was found and {tuple(out.shape[1:])} now; "
                "find it again for this input size"
            )
        seen.seen = True
        seen.activation = (out.detach() * scale).requires_grad_(leaf)
        return seen.activation.clone() if leaf or scale != 1.0 else out

    tap = _tap_function(layer, take) if layer.op is not None else _tap_module(module, layer, take)
    with tap:
        yield seen
    if not seen.seen:
        raise ModelError(f"the model did not pass through its layer {layer.name}; it was found in another state")


@contextmanager
def exchange(module: nn.Module, layer: SpatialLayer, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Replace the activation of a layer during one pass.

    Args:
        module: The classifier.
        layer: The layer.
        change: Maps its activation (B, ...) to the one with which the model continues; must not write into it.

    Raises:
        ModelError: On exit, if the layer was not reached.
    """
    reached = False

    def take(out: Tensor) -> Tensor:
        nonlocal reached
        reached = True
        return change(out)

    with _tap_function(layer, take) if layer.op is not None else _tap_module(module, layer, take):
        yield
    if not reached:
        raise ModelError(f"the model did not pass through its layer {layer.name}; it was found in another state")


@contextmanager
def _tap_module(module: nn.Module, layer: SpatialLayer, take: Callable[[Tensor], Tensor]) -> Iterator[None]:
    calls = 0

    def hook(_module: nn.Module, _args: Any, out: Any) -> Tensor | None:
        nonlocal calls
        calls += 1
        return take(out) if calls == layer.occurrence + 1 else None

    handle = module.get_submodule(layer.name).register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _tap_function(layer: SpatialLayer, take: Callable[[Tensor], Tensor]) -> Iterator[None]:
    class Tap(TorchFunctionMode):
        calls = 0

        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            if isinstance(out, Tensor) and getattr(func, "__name__", "") == layer.op:
                self.calls += 1
                if self.calls == layer.occurrence + 1:
                    return take(out)
            return out

    with Tap():
        yield
