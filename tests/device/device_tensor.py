"""A tensor that computes on the CPU and says that it lives on a GPU."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from tests.device.stand_in import StandIn


class DeviceTensor(Tensor):
    """Shares its storage with a CPU tensor, so that views, strides, writing in place and autograd are torch's own.

    For C++ it stays a tensor of the CPU (an autograd engine that believed in CUDA would ask the driver for streams);
    only Python is told another device. Every operation on it passes ``StandIn.run``.

    Attributes:
        host: The CPU tensor with the same storage.
        number: Index of the device.
        gpu: The stand-in that exists at the moment, for all tensors; None outside of its context.
    """

    host: Tensor
    number: int
    gpu: StandIn | None = None
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, host: Tensor, number: int = 0) -> DeviceTensor:
        host = host.detach() if host.requires_grad else host
        made = Tensor._make_subclass(cls, host)
        made.host, made.number = host, number
        return made

    device = property(lambda self: torch.device("cuda", self.number))
    is_cuda = property(lambda self: True)
    is_cpu = property(lambda self: False)

    def get_device(self) -> int:
        return self.number

    def __repr__(self, **_: Any) -> str:
        return f"DeviceTensor({tuple(self.shape)}, {self.dtype}, cuda:{self.number})"

    def __deepcopy__(self, memo: dict[int, Any]) -> DeviceTensor:
        copy = DeviceTensor(self.host.clone(), self.number).requires_grad_(self.requires_grad)
        if getattr(self, "_is_param", False):  # how torch marks parameters of other classes than its own
            copy._is_param = True
        memo[id(self)] = copy
        return copy

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if cls.gpu is None:
            raise RuntimeError("a tensor of the stand-in GPU outlived its context")
        return cls.gpu.run(func, args, kwargs or {})


def number_of(device: Any) -> int | None:
    """Index of a CUDA device; None for the CPU.

    Raises:
        RuntimeError: Any other kind of device.
    """
    device = torch.device("cuda", device) if isinstance(device, int) else torch.device(device)
    if device.type == "cpu":
        return None
    if device.type != "cuda":
        raise RuntimeError(f"the stand-in has no device {device}")
    return device.index or 0


def home(tensor: Tensor) -> int | None:
    """Index of the device on which a tensor lives; None for the CPU."""
    return tensor.number if isinstance(tensor, DeviceTensor) else None


def size_of(tensor: Tensor) -> int:
    """Bytes of the values of a tensor."""
    return tensor.numel() * tensor.element_size()
