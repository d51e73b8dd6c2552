"""Moves between host and stand-in, as Python asks for them.

C++ takes both sides for the CPU, so that ``x.to("cpu")`` would be no move at all there: the methods of ``torch.Tensor``
and the functions of ``torch`` that name a device are replaced while the stand-in exists.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from tests.device.device_tensor import DeviceTensor, home, number_of, size_of
from torch import Tensor
from torch.overrides import _get_current_function_mode, handle_torch_function
from torch.utils._pytree import tree_map

_METHODS = ("to", "numpy", "tolist", "__array__", "untyped_storage")
_PLAIN: dict[str, Callable[..., Any]] = {name: getattr(Tensor, name) for name in _METHODS}
_LIKE = ("zeros_like", "ones_like", "empty_like", "full_like", "rand_like", "randn_like", "randint_like")
_NEW = ("new_zeros", "new_ones", "new_empty", "new_full")
_FROM_DATA = ("tensor", "as_tensor", "asarray", "scalar_tensor")


def replacements() -> list[tuple[Any, str, Any]]:
    """Owner, name and replacement of everything that moves, or makes tensors somewhere."""
    found = [
        (Tensor, "to", to),
        (Tensor, "cpu", lambda x, memory_format=torch.preserve_format: to(x, "cpu", memory_format=memory_format)),
        (Tensor, "cuda", _cuda),
        (Tensor, "numpy", _numpy),
        (Tensor, "tolist", _tolist),
        (Tensor, "__array__", _array),
        (Tensor, "untyped_storage", lambda x: _PLAIN["untyped_storage"](x.host if home(x) is not None else x)),
        (Tensor, "pin_memory", lambda x, *_, **__: x),
        (Tensor, "new_tensor", _new_tensor),
    ]
    found += [(torch, name, _beside(getattr(torch, name))) for name in _LIKE]
    found += [(Tensor, name, _beside(getattr(Tensor, name))) for name in _NEW]
    return found + [(torch, name, _from_data(getattr(torch, name))) for name in _FROM_DATA]


def to(x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """``Tensor.to``, with real moves."""
    device, given = _read_arguments(args, dict(kwargs))
    here, there = home(x), home(x) if device is None else number_of(device)
    assert DeviceTensor.gpu is not None
    DeviceTensor.gpu.require(there)
    if here == there:
        return _PLAIN["to"](x, **given) if given else x
    mode = _get_current_function_mode()
    if mode is not None and mode is not DeviceTensor.gpu.watch:  # pitfall 12
        return handle_torch_function(to, (x,), x, *args, **kwargs)
    given.pop("copy", None)
    if given:
        x = _PLAIN["to"](x, **given)
    if x.requires_grad and torch.is_grad_enabled():
        return _Move.apply(x, there)  # type: ignore[return-value]
    return DeviceTensor.gpu.moved(x.detach(), there)


def _read_arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The device asked for (None for none), and the other arguments of ``Tensor.to`` by name."""
    device = kwargs.pop("device", None)
    flags = ["non_blocking", "copy"]
    other = kwargs.pop("other", None)
    for arg in (*args, other):
        if isinstance(arg, Tensor):
            device, kwargs["dtype"] = arg.device, arg.dtype
        elif isinstance(arg, torch.dtype):
            kwargs["dtype"] = arg
        elif isinstance(arg, bool):
            kwargs[flags.pop(0)] = arg
        elif isinstance(arg, (str, int, torch.device)):
            device = arg
    kwargs.pop("non_blocking", None)
    return device, {name: value for name, value in kwargs.items() if value is not None}


class _Move(torch.autograd.Function):
    """A move that gradients go back through."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, there: int | None) -> Tensor:
        ctx.back = home(x)
        assert DeviceTensor.gpu is not None
        return DeviceTensor.gpu.moved(x, there)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        gpu = DeviceTensor.gpu
        assert gpu is not None
        gpu.backward_on = ctx.back  # the rest of the graph lies there
        return gpu.moved(grads[0], ctx.back), None


def _cuda(x: Tensor, device: Any = None, non_blocking: bool = False, memory_format: Any = torch.preserve_format) -> Any:
    return to(x, "cuda" if device is None else device, memory_format=memory_format)


def _numpy(x: Tensor, *, force: bool = False) -> Any:
    if home(x) is None:
        return _PLAIN["numpy"](x, force=force) if force else _PLAIN["numpy"](x)
    if not force:
        raise TypeError(
            f"can't convert {x.device} device type tensor to numpy. Use Tensor.cpu() to copy the tensor to host memory "
            "first."
        )
    return _PLAIN["numpy"](to(x.detach(), "cpu"))


def _array(x: Tensor, *args: Any, **kwargs: Any) -> Any:
    return _PLAIN["__array__"](x, *args, **kwargs) if home(x) is None else _numpy(x)


def _tolist(x: Tensor) -> Any:
    if not isinstance(x, DeviceTensor):
        return _PLAIN["tolist"](x)
    assert x.gpu is not None
    x.gpu.tally.add("sync", what="tolist")
    x.gpu.tally.add("down", size_of(x), "tolist")
    return _PLAIN["tolist"](x.host)


def _new_tensor(x: Tensor, data: Any, *, dtype: Any = None, device: Any = None, requires_grad: bool = False) -> Any:
    place = x.device if device is None else device
    return torch.tensor(data, dtype=x.dtype if dtype is None else dtype, device=place, requires_grad=requires_grad)


def _beside(make: Callable[..., Any]) -> Callable[..., Any]:
    """``zeros_like(x, device="cpu")``: C++ names the device of the host by itself, so only Python knows who asked."""

    def made(x: Tensor, *args: Any, device: Any = None, **kwargs: Any) -> Any:
        if device is None:
            return make(x, *args, **kwargs)
        if isinstance(x, DeviceTensor) and number_of(device) is None:
            return make(x.host, *args, **kwargs)
        return make(x, *args, device=device, **kwargs)

    return made


def _from_data(make: Callable[..., Any]) -> Callable[..., Any]:
    """``torch.tensor`` and its kin: built on the host, then moved."""

    def made(data: Any, *args: Any, device: Any = None, requires_grad: bool = False, **kwargs: Any) -> Any:
        if isinstance(data, DeviceTensor):
            return to(data, device=data.device if device is None else device, dtype=kwargs.get("dtype"))
        data = tree_map(lambda part: part.item() if isinstance(part, DeviceTensor) else part, data)
        found = make(data, *args, **kwargs)
        if device is not None:
            found = to(found, device)
        return found.requires_grad_() if requires_grad else found

    return made
