"""A GPU for machines without one: ``cuda`` exists inside, computes on the CPU, and refuses what CUDA refuses.

    with StandIn() as gpu:
        classifier = load_classifier("planted:cnn")  # on cuda:0, as everywhere with a GPU
        classifier.logits(x)
    gpu.mixes, gpu.tally.bytes["up"], gpu.tally.top("up")

Every operation below autograd passes :meth:`StandIn.run`: tensors of the device are unwrapped, the CPU computes, and
the answer is wrapped again. Moves are replaced in Python (``moving.py``), rules are in ``refusals.py``.

Proves that tensors of two devices do not meet on the paths that ran, and counts copies, waits and work. Says nothing
about kernels, speed, streams, real memory or rounding other than what the options imitate.

What such a stand-in gets wrong unless it takes care:

1. C++ composites (``quantile``, ``pad``, derivatives) make helper tensors "where the input is", for C++ the CPU. A
   function mode notes that a function of the device is under way, ``autograd.grad`` where its root lies.
2. ``Module.to`` writes into the old parameter, of the host, unless torch is told that the kinds differ. The price:
   tied weights part, which they do not on CUDA.
3. ``.to("cpu")`` never reaches dispatch, since C++ sees no move: Python is patched.
4. ``_to_copy(device=cpu)`` from derivatives is no move: it is passed on.
5. ``squeeze_``, ``t_`` and their kin change the shell too.
6. Copies that the stand-in makes are no work of the host.
7. ``torch._dynamo`` is imported before anything is patched: it compares signatures.
8. Function modes of the product run inside: the stand-in enters first.
9. Threads started inside have no modes: they may touch tensors of the host only.
10. Tensors of the host without dimensions are legal in pointwise operations only; indices of the host are copies;
    a mask that takes one number does not wait.
11. ``torch.autocast("cuda")`` is that of the CPU.
12. A function mode of the product sees a move as one call of ``to``, as it does with CUDA.
"""

from __future__ import annotations

import weakref
from typing import Any
from unittest import mock

import torch
import torch._dynamo
from tests.device import moving
from tests.device.device_tensor import DeviceTensor, home, number_of, size_of
from tests.device.refusals import READING, Mix, check_devices, name_of, waits
from tests.device.tally import Tally, innermost_line
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map_only, tree_unflatten

_LARGE = 1 << 14  # bytes from which an operation of the CPU counts
_CPU = torch.device("cpu")


class StandIn:
    """Context in which GPUs exist.

    Args:
        devices: How many.
        memory: Bytes of each; an operation that would hold more raises ``torch.OutOfMemoryError``. None is without end.
        tf32: Round the inputs of float32 convolutions to 10 bits of mantissa wherever the flags of torch allow it, as
            cuDNN does by default.

    Attributes:
        tally: What happened.
        mixes: Operations refused, with the line; kept although the product may have caught the error.
        broken: An error that every operation raises from now on, as after a device-side assert; None while all is well.
    """

    def __init__(self, *, devices: int = 1, memory: int | None = None, tf32: bool = False) -> None:
        self.devices, self.memory, self.tf32 = devices, memory, tf32
        self.tally = Tally()
        self.mixes: list[str] = []
        self.broken: Exception | None = None
        self.held = self.most_held = 0
        self.emptied = 0
        self.inside: int | None = None
        self.backward_on: int | None = None
        self.watch = _Watch(self)

    def __enter__(self) -> StandIn:
        assert DeviceTensor.gpu is None, "there is a stand-in already"
        DeviceTensor.gpu = self
        changes = [*moving.replacements(), *_torch_itself(self)]
        self._patches = [mock.patch.object(owner, name, new) for owner, name, new in changes]
        self._patches += [mock.patch.object(torch.cuda, name, new) for name, new in _cuda_functions(self).items()]
        for patch in self._patches:
            patch.start()
        self._modes = [self.watch, _Dispatch(self)]
        for mode in self._modes:
            mode.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        for mode in reversed(self._modes):
            mode.__exit__(*error)
        for patch in reversed(self._patches):
            patch.stop()
        DeviceTensor.gpu = None

    # Moves and memory.

    def require(self, number: int | None) -> None:
        """Refuse a device that is not there."""
        if number is not None and number >= self.devices:
            raise torch.AcceleratorError("CUDA error: invalid device ordinal")

    def moved(self, x: Tensor, there: int | None) -> Tensor:
        """A copy of ``x`` on a device, None for the host; counted."""
        here = home(x)
        if here is not None or there is not None:
            self._raise_if_broken()
        kind = "across" if None not in (here, there) else "down" if there is None else "up"
        if here != there:
            self.tally.add(kind, size_of(x))
        with torch._C._DisableTorchDispatch():  # the copy itself is no work of the host
            copy = (x.host if isinstance(x, DeviceTensor) else x.detach()).clone()
        return copy if there is None else self.wrap(copy, there)

    def wrap(self, host: Tensor, number: int) -> DeviceTensor:
        """A tensor of the device; its memory counts until it is collected."""
        if isinstance(host, DeviceTensor):
            return host
        made = DeviceTensor(host, number)
        if self.memory is not None and host.layout == torch.strided and host._base is None:
            size = host.untyped_storage().nbytes()
            if self.held + size > self.memory:
                raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {size / 2**20:.2f} MiB.")
            self.held += size
            self.most_held = max(self.most_held, self.held)
            weakref.finalize(made, self._released, size)
        return made

    def _released(self, size: int) -> None:
        self.held -= size

    def _raise_if_broken(self) -> None:
        if self.broken is not None:
            raise self.broken

    # One operation below autograd.

    def run(self, func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        """Compute an operation where its tensors lie."""
        flat, spec = tree_flatten((args, kwargs))
        device = [t for t in flat if isinstance(t, DeviceTensor)]
        host = [t for t in flat if isinstance(t, Tensor) and not isinstance(t, DeviceTensor)]
        if not (device or host) and "device" in kwargs:
            kwargs = {**kwargs, **self._helper_device()}
        asked = kwargs.get("device")
        there = device[0].number if device else None if asked is None else number_of(asked)
        if there is None:
            return self._on_host(func, args, kwargs, host)
        self._raise_if_broken()
        self.require(there)
        _check_generator(kwargs, device)
        try:
            check_devices(func, args, kwargs, device, host)
        except Mix as mix:
            self.mixes.append(f"{innermost_line()}: {mix}")
            raise
        self._count(func, args, device)
        bare, bare_kwargs = tree_unflatten([t.host if isinstance(t, DeviceTensor) else t for t in flat], spec)
        answer = func(*self._rounded(func, bare), **_on_cpu({**kwargs, **bare_kwargs}))
        return self._answered(func, args, kwargs, answer, device, there)

    def _helper_device(self) -> dict[str, Any]:
        """Where C++ thinks that the tensors are on which it is at work: pitfall 1."""
        there = self.inside if torch._C._current_graph_task_id() == -1 else self.backward_on
        return {} if there is None else {"device": torch.device("cuda", there)}

    def _on_host(self, func: Any, args: Any, kwargs: dict[str, Any], host: list[Tensor]) -> Any:
        answer = func(*args, **kwargs)
        size = sum(size_of(t) for t in host)
        if size >= _LARGE and not func.is_view and "empty" not in name_of(func) and func not in READING:
            made = sum(size_of(t) for t in tree_flatten(answer)[0] if isinstance(t, Tensor))
            self.tally.add("host", size + made, name_of(func))
        return answer

    def _count(self, func: Any, args: Any, device: list[DeviceTensor]) -> None:
        name = name_of(func)
        if func is torch.ops.aten.copy_.default:
            target, source = args[:2]
            if home(target) != home(source) and source.ndim > 0:
                kind = "up" if home(source) is None else "down" if home(target) is None else "across"
                self.tally.add(kind, size_of(source), name)
        elif waits(func, args):
            self.tally.add("sync", what=name)
        for at in args[1] if name.removeprefix("_").startswith("index") and isinstance(args[1], (list, tuple)) else ():
            if isinstance(at, Tensor) and home(at) is None and at.ndim:
                self.tally.add("up", size_of(at), f"{name} by an index of the host")
        if not func.is_view:
            self.tally.add("launch", lines=False)
            wide = [size_of(t) for t in device if t.dtype == torch.float64 and t.numel() > 1]
            if wide:
                self.tally.add("float64", max(wide), name)

    def _rounded(self, func: Any, args: Any) -> Any:
        if not (self.tf32 and "convolution" in name_of(func) and args[0].dtype == torch.float32 and _tf32_allowed()):
            return args
        inputs = 3 if "backward" in name_of(func) else 2
        return [_ten_bits(a) if at < inputs and isinstance(a, Tensor) else a for at, a in enumerate(args)]

    def _answered(
        self, func: Any, args: Any, kwargs: dict[str, Any], answer: Any, device: list[DeviceTensor], there: int
    ) -> Any:
        """The answer, on the device unless it is a number; tensors that were written into are themselves."""
        if func in READING:
            return answer
        if func is torch.ops.aten.copy_.default:
            return args[0]
        given = {id(t.host): t for t in device}
        wrapped = tree_map_only(Tensor, lambda t: given[id(t)] if id(t) in given else self.wrap(t, there), answer)
        for shell in device:
            if shell.shape != shell.host.shape:  # pitfall 5
                with torch._C._DisableTorchDispatch():
                    func(shell, *args[1:], **kwargs)
        return wrapped


class _Dispatch(TorchDispatchMode):
    """Brings every operation to the stand-in."""

    def __init__(self, gpu: StandIn) -> None:
        super().__init__()
        self._gpu = gpu

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else torch wraps every operation once more and imports its compiler

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return self._gpu.run(func, args, kwargs or {})


class _Watch(TorchFunctionMode):
    """Notes that a function of torch works on tensors of the device: pitfall 1."""

    def __init__(self, gpu: StandIn) -> None:
        super().__init__()
        self._gpu = gpu

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        before = self._gpu.inside
        if before is None and "device" not in kwargs:
            for arg in (*args, *kwargs.values()):
                arg = arg[0] if isinstance(arg, (list, tuple)) and arg else arg
                if isinstance(arg, DeviceTensor):
                    self._gpu.inside = arg.number
                    break
        try:
            return func(*args, **kwargs)
        finally:
            self._gpu.inside = before


def _torch_itself(gpu: StandIn) -> list[tuple[Any, str, Any]]:
    """Parts of torch that look at the device from Python."""
    alike = torch._has_compatible_shallow_copy_type

    class Autocast(torch.amp.autocast_mode.autocast):
        def __init__(self, device_type: str, dtype: Any = None, *args: Any, **kwargs: Any) -> None:
            super().__init__("cpu", dtype or torch.bfloat16, *args, **kwargs)

    def same_kind(one: Tensor, other: Tensor) -> bool:  # pitfall 2
        return home(one) is None and home(other) is None and alike(one, other)

    def from_root(differentiate: Any) -> Any:
        def told(outputs: Any, *args: Any, **kwargs: Any) -> Any:
            before = gpu.backward_on
            gpu.backward_on = home(outputs[0] if isinstance(outputs, (list, tuple)) else outputs)
            try:
                return differentiate(outputs, *args, **kwargs)
            finally:
                gpu.backward_on = before

        return told

    return [
        (torch, "_has_compatible_shallow_copy_type", same_kind),
        (torch, "autocast", Autocast),
        (torch.amp, "autocast", Autocast),
        (torch.accelerator, "current_accelerator", lambda *_, **__: None),  # optimisers ask for its stream
        (torch.autograd, "grad", from_root(torch.autograd.grad)),
        (torch.autograd, "backward", from_root(torch.autograd.backward)),
    ]


def _cuda_functions(gpu: StandIn) -> dict[str, Any]:
    whole = gpu.memory or 2**37

    def emptied() -> None:
        gpu._raise_if_broken()
        gpu.emptied += 1

    def synchronize(*_: Any) -> None:
        gpu._raise_if_broken()
        gpu.tally.add("sync", what="synchronize")

    return {
        "_lazy_init": lambda: None,
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "device_count": lambda: gpu.devices,
        "current_device": lambda: 0,
        "set_device": lambda *_: None,
        "get_device_name": lambda *_: "stand-in",
        "get_device_capability": lambda *_: (9, 0),
        "is_bf16_supported": lambda *_: True,
        "is_current_stream_capturing": lambda: False,
        "empty_cache": emptied,
        "synchronize": synchronize,
        "get_rng_state": lambda *_: torch.get_rng_state(),
        "set_rng_state": lambda state, *_: torch.set_rng_state(state),
        "manual_seed": lambda *_: None,
        "manual_seed_all": lambda *_: None,
        "mem_get_info": lambda *_: (whole - gpu.held, whole),
        "memory_allocated": lambda *_: gpu.held,
        "max_memory_allocated": lambda *_: gpu.most_held,
        "reset_peak_memory_stats": lambda *_: setattr(gpu, "most_held", gpu.held),
    }


def _check_generator(kwargs: dict[str, Any], device: list[DeviceTensor]) -> None:
    generator = kwargs.get("generator")
    if not device and isinstance(generator, torch.Generator) and generator.device.type == "cpu":
        raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")


def _on_cpu(kwargs: dict[str, Any]) -> dict[str, Any]:
    changed = {"device": _CPU} if kwargs.get("device") is not None else {}
    return {**kwargs, **changed, **({"pin_memory": False} if kwargs.get("pin_memory") else {})}


def _tf32_allowed() -> bool:
    convolutions = getattr(torch.backends.cudnn, "conv", None)
    return convolutions.fp32_precision == "tf32" if convolutions is not None else torch.backends.cudnn.allow_tf32


def _ten_bits(x: Tensor) -> Tensor:
    rounded = (x.contiguous().view(torch.int32) + 0x1000).bitwise_and(~0x1FFF).view(torch.float32)
    return rounded.view_as(x)
