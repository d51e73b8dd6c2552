"""Run a model so that its backward pass carries relevance, without touching the model.

A mode of PyTorch sees every function that the model calls, and replaces those whose gradient is not their relevance.
Nothing is installed in the model, so there is nothing to remove, also if it raises.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from whywrong.core.errors import ModelError
from whywrong.explain.relevance.functions import Carry, Enter
from whywrong.explain.relevance.handlers import HANDLERS, is_rectified
from whywrong.explain.relevance.linear_maps import WEIGHTED
from whywrong.explain.relevance.names import KEEPS_SIGN, READS, REARRANGES, RESCALES
from whywrong.explain.relevance.tape import Tag, Tape, set_tag, tag_of


class RelevanceMode(TorchFunctionMode):
    """Replace the functions that a model calls on its images by ones that carry relevance.

    Args:
        tape: Rules and accounts.
        audit: Whether to measure at every call how much relevance comes in and goes out.
    """

    def __init__(self, tape: Tape, *, audit: bool = False) -> None:
        super().__init__()
        self.tape = tape
        self.audit = tape.audited = audit
        self._calls = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        inputs = _varying(args, kwargs)
        if not inputs or name in ("requires_grad_", "register_hook", "detach"):
            return func(*args, **kwargs)
        if name in READS and not (name == "__get__" and _is_view(func)):
            return func(*args, **kwargs)
        func, name = _out_of_place(func, name, kwargs)
        for tensor in inputs:
            tag = tag_of(tensor)
            if tag.closed:
                raise ModelError(f"the output of {tag.closed} is read besides its batch normalisation: no rule fits")
            if tag.source is not None:
                tag.source.users += 1
                tag.source.rectified = tag.source.users == 1 and is_rectified(name, args, kwargs)
        self._calls += 1
        self.tape.call = f"{name}, call {self._calls}, after {self.tape.latest}"
        if self.audit:
            return self._audited(func, name, args, kwargs)
        return self._call(func, name, args, kwargs)

    def _call(self, func: Callable[..., Any], name: str, args: Any, kwargs: Any) -> Any:
        inputs = _varying(args, kwargs)
        tags = [tag_of(tensor) for tensor in inputs]
        if any(tag.raw for tag in tags):
            if all(tag.raw for tag in tags):
                if name in RESCALES and len(inputs) == 1:
                    return _rescaled(func, args, kwargs, inputs[0])
                if name in REARRANGES:
                    return _rearranged(func, args, kwargs)
                if name in WEIGHTED:
                    return HANDLERS[name](self.tape, name, func, args, kwargs)
            args, kwargs = _replace(args, kwargs, lambda tensor: Enter.apply(tensor) if tag_of(tensor).raw else tensor)
        handler = HANDLERS.get(name)
        out = handler(self.tape, name, func, args, kwargs) if handler else func(*args, **kwargs)
        nonnegative = is_rectified(name, args, kwargs) or (
            _keeps_sign(name, args, kwargs) and all(tag.nonnegative for tag in tags)
        )
        nonnegative |= name in ("add", "__add__") and len(tags) > 1 and all(tag.nonnegative for tag in tags)
        for one in _tensors(out):
            if one.requires_grad and nonnegative:
                set_tag(one, Tag(nonnegative=True))
            elif one.requires_grad and name in ("to", "float", "contiguous", "clone", "dropout") and tags[0].source:
                set_tag(one, Tag(source=tags[0].source))
        return out

    def _audited(self, func: Callable[..., Any], name: str, args: Any, kwargs: Any) -> Any:
        """Measure the relevance of the outputs of a call, less that of its inputs and of constants."""
        tape = self.tape
        # The name of a layer is known when it has run, before any backward pass.
        label = [tape.call]

        def alias(tensor: Tensor) -> Tensor:
            copy = set_tag(tensor.view_as(tensor), tag_of(tensor))
            raw, value = tag_of(tensor).raw, tensor.detach()

            def received(signal: Tensor) -> None:
                _note(tape, label[0], -tape.per_image(_relevance(signal, value, raw)))

            copy.register_hook(received)
            return copy

        args, kwargs = _replace(args, kwargs, alias)
        out = self._call(func, name, args, kwargs)
        if name in WEIGHTED and tag_of(out).source:
            label[0] = tag_of(out).source.name  # type: ignore[union-attr]
        for one in _tensors(out):
            if one.requires_grad:
                self._watch(one, label[0])
        return out

    def _watch(self, out: Tensor, label: str) -> None:
        tape, raw, value = self.tape, tag_of(out).raw, out.detach()
        out.register_hook(lambda signal: _note(tape, label, tape.per_image(_relevance(signal, value, raw))))


def _relevance(signal: Tensor, value: Tensor, raw: bool) -> Tensor:
    return signal if raw else torch.where(signal == 0, 0.0, signal * value)  # masked logits are -inf


def _note(tape: Tape, call: str, relevance: Tensor) -> None:
    missed = tape.accounts.missed
    missed[call] = missed[call] + relevance if call in missed else relevance


def _keeps_sign(name: str, args: Any, kwargs: Any) -> bool:
    if name == "pad":
        value = kwargs.get("value", args[3] if len(args) > 3 else None)
        return value is None or value >= 0
    return name in KEEPS_SIGN


def _rescaled(func: Callable[..., Any], args: Any, kwargs: Any, pixels: Tensor) -> Tensor:
    tag = tag_of(pixels)
    with torch.no_grad():
        plain, low, high = (
            func(*_swap(args, pixels, value), **_swap_named(kwargs, pixels, value))
            for value in (pixels.detach(), tag.low, tag.high)
        )
    if plain.shape != pixels.shape:
        return func(*args, **kwargs)
    out = Carry.apply(pixels, plain)
    return set_tag(out, Tag(raw=True, low=torch.minimum(low, high), high=torch.maximum(low, high)))


def _rearranged(func: Callable[..., Any], args: Any, kwargs: Any) -> Any:
    out = func(*args, **kwargs)
    with torch.no_grad():
        bounds = []
        for which in ("low", "high"):
            swapped = _replace(
                args, kwargs, lambda tensor, which=which: getattr(tag_of(tensor), which).expand_as(tensor)
            )
            bounds.append(func(*swapped[0], **swapped[1]))
    parts = (out,) if isinstance(out, Tensor) else out
    lows, highs = ((b,) if isinstance(b, Tensor) else b for b in bounds)
    nonnegative = all(tag_of(tensor).nonnegative for tensor in _varying(args, kwargs))
    for part, low, high in zip(parts, lows, highs, strict=True):
        set_tag(part, Tag(raw=True, nonnegative=nonnegative, low=low, high=high))
    return out


def _out_of_place(func: Callable[..., Any], name: str, kwargs: dict[str, Any]) -> tuple[Callable[..., Any], str]:
    """Find the function that computes the same without writing into its input, which a rule may still need."""
    if kwargs.get("inplace"):
        kwargs["inplace"] = False
    plain = ""
    if name.startswith("__i") and name.endswith("__") and name != "__invert__":
        plain = {"__itruediv__": "div", "__idiv__": "div"}.get(name, name[3:-2])
    elif name.endswith("_") and not name.endswith("__"):
        plain = name[:-1]
    for place in (torch.Tensor, torch, functional):
        if plain and hasattr(place, plain):
            return getattr(place, plain), plain
    if name == "_threshold":
        return func, "threshold"
    return func, name


def _is_view(func: Callable[..., Any]) -> bool:
    return getattr(getattr(func, "__self__", None), "__name__", "") in ("T", "mT", "H", "mH")


def _varying(args: Any, kwargs: Any) -> list[Tensor]:
    return [one for one in _tensors((args, list(kwargs.values()))) if one.requires_grad]


def _tensors(values: Any) -> list[Tensor]:
    if isinstance(values, Tensor):
        return [values]
    if isinstance(values, (list, tuple)):
        return [one for value in values for one in _tensors(value)]
    return []


def _replace(args: Any, kwargs: Any, change: Callable[[Tensor], Any]) -> tuple[Any, dict[str, Any]]:
    return _replaced(args, change), {name: _replaced(value, change) for name, value in kwargs.items()}


def _replaced(value: Any, change: Callable[[Tensor], Any]) -> Any:
    if isinstance(value, Tensor):
        return change(value) if value.requires_grad else value
    if isinstance(value, (list, tuple)) and any(one.requires_grad for one in _tensors(value)):
        return type(value)([_replaced(one, change) for one in value])
    return value


def _swap(args: Any, old: Tensor, new: Any) -> Any:
    return tuple(new if value is old else value for value in args)


def _swap_named(kwargs: Any, old: Tensor, new: Any) -> dict[str, Any]:
    return {name: new if value is old else value for name, value in kwargs.items()}
