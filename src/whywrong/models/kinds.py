"""Supported kinds of modules, and the access that each of them grants.

Plain modules of any floating-point type, compiled modules and ``DataParallel`` grant everything; of a wrapper, the
module inside is used, which holds the same weights and whose hooks run. TorchScript and exported graphs grant
gradients, since their layers cannot be hooked. Quantised modules grant scores. Everything else is refused.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from whywrong.core.access import Access
from whywrong.core.errors import ModelError

FLOATS = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


@dataclass(frozen=True, slots=True)
class ModuleKind:
    """Properties of a module that determine its use.

    Attributes:
        module: The module to call; if wrapped, the one inside.
        access: Highest level it can grant.
        device: Device of its weights; None without weights.
        dtype: Type of its input pixels.
        convolutional: Whether it has 2-D convolutions, which run faster on channels-last pixels on a CPU.
    """

    module: nn.Module
    access: Access
    device: torch.device | None
    dtype: torch.dtype
    convolutional: bool


def unwrap(module: nn.Module) -> nn.Module:
    """Return the module inside ``DataParallel`` or ``torch.compile``.

    It holds the same weights.
    """
    while isinstance(module, nn.DataParallel) or hasattr(module, "_orig_mod"):
        module = module.module if isinstance(module, nn.DataParallel) else module._orig_mod  # type: ignore[assignment]
    return module


def inspect_module(module: nn.Module) -> ModuleKind:
    """Determine the kind of a module.

    Raises:
        ModelError: The kind is not supported; the message says what to do.
    """
    module = unwrap(module)
    name = type(module).__name__
    if name in ("DistributedDataParallel", "FullyShardedDataParallel"):
        raise ModelError(f"a module wrapped in {name} is spread over processes; give the module inside it")
    tensors = [*module.parameters(), *module.buffers()]
    if any(nn.parameter.is_lazy(t) for t in tensors):
        raise ModelError("the model has lazy layers without weights yet; send one batch through it first")
    if any(t.is_meta for t in tensors):
        raise ModelError("the model has tensors on the meta device, that is, no weights; load them first")
    devices = {t.device for t in tensors}
    if len(devices) > 1:
        raise ModelError(
            f"the model's tensors lie on several devices ({', '.join(sorted(map(str, devices)))}); move it to one"
        )
    odd = sorted({str(t.dtype) for t in tensors if t.is_floating_point() and t.dtype not in FLOATS})
    if odd:
        raise ModelError(f"weights of type {', '.join(odd)} are not supported; use {', '.join(map(str, FLOATS))}")
    script = isinstance(module, torch.jit.ScriptModule)
    kinds = {type(part).__module__ for part in module.modules()}
    quantised = any(t.is_quantized for t in tensors) or any(".quantized" in kind for kind in kinds)
    graph = isinstance(module, torch.fx.GraphModule) and not any(isinstance(p, nn.Conv2d) for p in module.modules())
    access = Access.SCORES if quantised else Access.GRADIENTS if script or graph else Access.INTERNALS
    floats = [t.dtype for t in module.parameters() if t.is_floating_point()] or [
        t.dtype for t in module.buffers() if t.is_floating_point()
    ]
    return ModuleKind(
        module=module,
        access=access,
        device=next(iter(devices), None),
        dtype=floats[0] if floats and not quantised else torch.float32,
        convolutional=not script and any(isinstance(part, nn.Conv2d) for part in module.modules()),
    )
