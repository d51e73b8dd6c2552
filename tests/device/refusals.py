"""What CUDA refuses because tensors lie apart, and where it makes the host wait."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from tests.device.device_tensor import DeviceTensor
from torch import Tensor

aten = torch.ops.aten
INDEXING = {
    aten.index.Tensor,
    aten._unsafe_index.Tensor,
    aten.index_put.default,
    aten.index_put_.default,
    aten._index_put_impl_.default,
}
# Answers that are numbers of the host: a truth, a count, a Python scalar.
READING = {aten._local_scalar_dense.default, aten.is_nonzero.default, aten.equal.default}
# The size of what comes out is known only when the device is done, or an error flag is read back.
_WAITING = {
    aten.nonzero.default,
    aten.masked_select.default,
    aten._unique2.default,
    aten.unique_dim.default,
    aten.unique_consecutive.default,
    aten.bincount.default,
    aten.repeat_interleave.Tensor,
    *READING,
}
_WAITING_NAMES = ("linalg_", "_linalg_", "cholesky")
# Tensors without dimensions may lie on the host in pointwise operations, and in these.
_TAKE_HOST_SCALARS = {
    aten.fill_.Tensor,
    aten.masked_fill.Tensor,
    aten.masked_fill_.Tensor,
    aten.index_fill.int_Tensor,
    aten.index_fill_.int_Tensor,
    aten.where.self,
    *INDEXING,
}


class Mix(RuntimeError):
    """Tensors of several devices met in one operation, in the words of CUDA."""


def name_of(func: Any) -> str:
    """``add_`` for ``aten::add_.Tensor``."""
    return func._schema.name.removeprefix("aten::")


def check_devices(
    func: Any, args: Sequence[Any], kwargs: Mapping[str, Any], device: list[DeviceTensor], host: list[Tensor]
) -> None:
    """Refuse an operation that CUDA would refuse.

    Args:
        func: The operation, below autograd.
        args, kwargs: Its arguments.
        device: Those on a device.
        host: Tensors among them that lie on the host.

    Raises:
        Mix: They cannot be used together.
    """
    name = name_of(func)
    numbers = sorted({tensor.number for tensor in device})
    if func is aten.copy_.default:
        return
    if len(numbers) > 1:
        raise _mix(name, f"cuda:{numbers[0]}", f"cuda:{numbers[1]}")
    if not device:
        if host and "like" not in name and not name.startswith("new_") and name != "_to_copy":
            raise _mix(name, "cpu", str(kwargs.get("device")))
        return
    first = args[0] if args else None
    on_host = isinstance(first, Tensor) and not isinstance(first, DeviceTensor)
    with_dimensions = [tensor for tensor in host if tensor.ndim > 0]
    if func in INDEXING:
        if on_host:  # indices of the host are sent after a tensor of the device, never the other way round
            raise Mix(f"indices should be either on cpu or on the same device as the indexed tensor (cpu) (in {name})")
        with_dimensions = [tensor for tensor in with_dimensions if not any(tensor is at for at in args[1])]
    scalars_fit = torch.Tag.pointwise in func.tags or func in _TAKE_HOST_SCALARS
    if with_dimensions or (on_host and name.endswith("_")) or (len(host) > len(with_dimensions) and not scalars_fit):
        raise _mix(name, f"cuda:{numbers[0]}", "cpu")


def _mix(name: str, one: str, other: str) -> Mix:
    return Mix(
        f"Expected all tensors to be on the same device, but found at least two devices, {one} and {other}! (in {name})"
    )


def waits(func: Any, args: Sequence[Any]) -> bool:
    """Whether the host waits for the device in an operation on it."""
    name = name_of(func)
    if func not in INDEXING:
        return func in _WAITING or name.startswith(_WAITING_NAMES)
    masks = [at for at in args[1] if isinstance(at, DeviceTensor) and at.dtype in (torch.bool, torch.uint8)]
    value = args[2] if name.startswith(("index_put", "_index_put")) else None
    one_number = value is not None and value.numel() == 1 and not isinstance(value, DeviceTensor)
    return bool(masks) and not (len(masks) == 1 and one_number)  # that one becomes masked_fill
