"""Record one pass through a classifier, with every tensor between the pixels and the logits.

Module hooks alone miss what a model computes outside of its modules (a residual sum, a mean over tokens), so calls of
torch functions are recorded, too. Tensors are kept as edges of the gradient graph, which stay valid if a later in-place
operation overwrites the tensor.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, Node, get_gradient_edge
from torch.overrides import TorchFunctionMode

_CHANNELS_FIRST = {
    *("conv1d", "conv2d", "conv_transpose2d", "batch_norm", "group_norm", "instance_norm"),
    *("max_pool2d", "avg_pool2d"),  # without pooling to a fixed size, which imposes a grid
}
_REARRANGING = {"flatten", "transpose", "permute", "reshape", "view", "cat", "__getitem__"}
_SEQUENCES_KEPT = 4  # sequences kept per shape and origin, rearranged or not


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One tensor of the pass.

    Attributes:
        op: Name of the torch function that computed it, or "" for the output of a module that hides its functions.
        occurrence: Number of earlier calls of ``op``; for a module, of that module.
        module: Name of the module that returned it; None if no module did.
        shape: Its shape, batch first.
        edge: Its edge in the gradient graph.
        tensor: A copy with its graph, for the first few sequences (B, N, C) of each shape.
    """

    op: str
    occurrence: int
    module: str | None
    shape: tuple[int, ...]
    edge: GradientEdge
    tensor: Tensor | None = None


@dataclass(slots=True)
class Trace:
    """A recorded pass.

    Attributes:
        x: The images, (B, C, H, W), a leaf of the graph.
        logits: (B, K), with their graph.
        steps: Tensors of three or four dimensions that depend on the images, in order of execution.
        channel_axes: Maps a shape to the axes, 1 or -1, that layers with a known channel count used as channels.
        linear: Weight (K, F) and bias of the linear layers (and 1x1 convolutions), in order of execution.
        norms: Layer and batch normalisations in order of execution, as (operation, arguments by name).
        answers: Maps a module to the step that it returned in its last call.
        token_layouts: Known order of tokens, by the shape of the sequence.
    """

    x: Tensor
    logits: Tensor
    steps: list[Step] = field(default_factory=list)
    channel_axes: dict[tuple[int, ...], set[int]] = field(default_factory=dict)
    linear: list[tuple[Tensor, Tensor | None]] = field(default_factory=list)
    norms: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    answers: dict[str, Step] = field(default_factory=dict)
    token_layouts: dict[tuple[int, ...], Any] = field(default_factory=dict)
    _cuts: set[Node] | None = None

    def gradients(self, value: Tensor, steps: Sequence[Step]) -> list[Tensor | None]:
        """Compute the gradient of a scalar at each step.

        An entry is None if the scalar does not depend on the step.
        """
        edges = [step.edge for step in steps]
        return list(torch.autograd.grad(value, edges, retain_graph=True, allow_unused=True)) if edges else []

    def cuts(self) -> set[Node]:
        """Find the nodes on every path from the logits to the pixels.

        All information that the logits have about the images passes through each of them.
        """
        if self._cuts is None:
            self._cuts = self._find_cuts()
        return self._cuts

    def _find_cuts(self) -> set[Node]:
        root, pixels = self.logits.grad_fn, get_gradient_edge(self.x).node
        order = _topological(root) if root is not None else []
        if pixels not in order:
            return set()
        place = {node: i for i, node in enumerate(order)}
        # Immediate dominators; one sweep in topological order is enough (Cooper, Harvey and Kennedy 2001).
        dominator = {order[0]: order[0]}
        for node in order:
            for parent, _ in node.next_functions:
                if parent is None:
                    continue
                other, one = dominator.get(parent, node), node
                while other is not one:
                    if place[other] > place[one]:
                        other = dominator[other]
                    else:
                        one = dominator[one]
                dominator[parent] = one
        found = {order[0]}
        node = pixels
        while node is not order[0]:
            found.add(node)
            node = dominator[node]
        return found

    @contextmanager
    def replaced(self, step: Step, gradient: Tensor) -> Iterator[None]:
        """Replace the gradient of ``step`` by ``gradient`` inside the context."""

        def put(grads: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
            return tuple(
                grad if grad is None else gradient.to(grad.dtype) if number == step.edge.output_nr else grad
                for number, grad in enumerate(grads)
            )

        handle = step.edge.node.register_prehook(put)  # type: ignore[arg-type]
        try:
            yield
        finally:
            handle.remove()


class _Recorder(TorchFunctionMode):
    def __init__(self, batch: int) -> None:
        super().__init__()
        self.batch = batch
        self.paused = False
        self.calls: Counter[str] = Counter()
        self.kept: Counter[tuple[int, ...]] = Counter()
        self.records: list[Step] = []
        self.channel_axes: dict[tuple[int, ...], set[int]] = {}
        self.linear: list[tuple[Tensor, Tensor | None]] = []
        self.norms: list[tuple[str, dict[str, Any]]] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        name = getattr(func, "__name__", "")
        if self.paused or not isinstance(out, Tensor) or name == "__get__":
            return out
        occurrence = self.calls[name]
        self.calls[name] += 1
        if out.requires_grad:
            self.note(name, occurrence, out)
            self._learn(name, args, kwargs, out)
        return out

    def note(self, name: str, occurrence: int, out: Tensor) -> None:
        if out.ndim in (3, 4) and len(out) == self.batch and out.is_floating_point():
            tensor = None
            kind = (*out.shape, int(name in _REARRANGING))
            if out.ndim == 3 and self.kept[kind] < _SEQUENCES_KEPT:
                self.kept[kind] += 1
                tensor = out.clone()
            self.records.append(Step(name, occurrence, None, tuple(out.shape), get_gradient_edge(out), tensor))

    def _learn(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], out: Tensor) -> None:
        def take(index: int, key: str, default: Any = None) -> Any:
            return args[index] if len(args) > index else kwargs.get(key, default)

        axes = self.channel_axes.setdefault(tuple(out.shape), set())
        if name in _CHANNELS_FIRST:
            axes.add(1)
        elif name == "linear" or (name in ("layer_norm", "rms_norm") and len(take(1, "normalized_shape")) == 1):
            axes.add(-1)
        elif name in ("cat", "concat", "concatenate"):
            axes |= self._axes_of_parts(take(0, "tensors"), take(1, "dim", 0), out.ndim)
        if name == "linear" or (name == "conv2d" and tuple(take(1, "weight").shape[2:]) == (1, 1)):
            self.linear.append((take(1, "weight"), take(2, "bias")))
        elif name == "layer_norm":
            keys = ("weight", "bias", "eps")
            self.norms.append((name, {key: take(2 + i, key) for i, key in enumerate(keys)}))
        elif name == "batch_norm":
            keys = ("running_mean", "running_var", "weight", "bias")
            self.norms.append(
                (name, {**{key: take(1 + i, key) for i, key in enumerate(keys)}, "eps": take(7, "eps", 1e-5)})
            )

    def _axes_of_parts(self, parts: Sequence[Tensor], dim: int, ndim: int) -> set[int]:
        """Return the channel axes of maps that are concatenated along their channels."""
        axis = {1: 1, ndim - 1: -1}.get(dim % ndim)
        known = [self.channel_axes.get(tuple(part.shape), set()) for part in parts]
        return {axis} if axis is not None and any(axes == {axis} for axes in known) else set()


def record(module: nn.Module, x: Tensor, forward: Callable[[Tensor], Tensor]) -> Trace:
    """Run ``forward`` once on ``x`` and record what is computed inside ``module``.

    Hooks are removed afterwards, even if the model raises. The model should be in evaluation mode, with parameters that
    require no gradients.
    """
    x = x.detach().clone().requires_grad_()
    recorder = _Recorder(len(x))
    answers: dict[tuple[Node, int], list[tuple[str, int]]] = {}
    calls: Counter[str] = Counter()

    def hook(name: str) -> Callable[..., None]:
        def answered(_module: nn.Module, _args: Any, out: Any) -> None:
            call = calls[name]
            calls[name] += 1
            if isinstance(out, Tensor) and out.requires_grad:
                recorder.paused = True
                recorder.note("", call, out)  # functions inside a scripted module are not recorded
                answers.setdefault(_key(get_gradient_edge(out)), []).append((name, call))
                recorder.paused = False

        return answered

    handles = []
    try:
        handles = [part.register_forward_hook(hook(name)) for name, part in module.named_modules() if name]
        with torch.enable_grad(), recorder:
            logits = forward(x)
    finally:
        for handle in handles:
            handle.remove()

    trace = Trace(x, logits, [], recorder.channel_axes, recorder.linear, recorder.norms)
    seen: set[tuple[Node, int]] = set()
    for step in recorder.records:
        key = _key(step.edge)
        if key in seen:
            continue
        seen.add(key)
        named = [replace(step, module=name, occurrence=call) for name, call in answers.get(key, ())]
        trace.answers.update((str(step.module), step) for step in named)
        # The outermost module that returns this very tensor gives the best name: "layer3", not "layer3.2.relu".
        trace.steps.append(min(named, key=lambda step: str(step.module).count("."), default=step))
    return trace


def _topological(root: Node) -> list[Node]:
    """Return the nodes from the root down, each after all that lead to it."""
    done: set[Node] = set()
    order: list[Node] = []
    stack: list[tuple[Node, bool]] = [(root, False)]
    while stack:
        node, left = stack.pop()
        if left:
            order.append(node)
        elif node not in done:
            done.add(node)
            stack.append((node, True))
            stack.extend((parent, False) for parent, _ in node.next_functions if parent is not None)
    return order[::-1]


def _key(edge: GradientEdge) -> tuple[Node, int]:
    return edge.node, edge.output_nr
