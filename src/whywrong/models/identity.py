"""Identify a classifier by a SHA-256 hash of weights, architecture source and input spec."""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from whywrong.core.input_spec import InputSpec

LIBRARIES = {
    "torch",
    "timm",
    "torchvision",
    "transformers",
    "builtins",
    "whywrong",
}  # known by name; their source may be reformatted


def fingerprint(model: Any, preprocess: InputSpec | None, output: str, sources: Iterable[bytes] = ()) -> str:
    """Compute a hash that identifies a classifier in every process.

    Returns 64 hexadecimal digits.

    Args:
        model: Of a module, its structure, the source of its own classes, its parameters and buffers are hashed; of any
            other callable, its name and source if available.
        preprocess: Input size and normalisation.
        output: How the answer is read.
        sources: Further bytes that define the model, such as the file it was loaded from.
    """
    digest = hashlib.sha256()

    def add(*fields: bytes) -> None:
        for field in fields:  # the length prefix separates consecutive items
            digest.update(len(field).to_bytes(8, "little"))
            digest.update(field)

    add(repr(preprocess).encode(), output.encode(), *sources)
    if isinstance(model, nn.Module):
        add(_without_addresses(repr(model)))
        own = {type(part) for part in model.modules() if type(part).__module__.split(".")[0] not in LIBRARIES}
        for name, source in sorted((kind.__qualname__, _source(kind)) for kind in own):
            add(name.encode(), source)
        # A module may override state_dict(), so everything that holds a value is hashed instead.
        for name, tensor in (*model.named_parameters(), *model.named_buffers()):
            add(name.encode(), str(tensor.dtype).encode(), str(tuple(tensor.shape)).encode())
            digest.update(_bytes(tensor))
    else:
        kind = model if inspect.isroutine(model) else type(model)
        add(_name(kind).encode(), b"" if kind.__module__.split(".")[0] in LIBRARIES else _source(kind))
    return digest.hexdigest()


def _name(kind: Any) -> str:
    return getattr(kind, "__qualname__", type(kind).__qualname__)


def _source(kind: Any) -> bytes:
    try:
        return inspect.getsource(kind).encode(errors="surrogateescape")
    except (OSError, TypeError):
        return b""  # entered at a prompt, or compiled: structure and weights are still hashed


def _without_addresses(text: str) -> bytes:
    return re.sub(r"0x[0-9a-fA-F]+", "0x", text).encode()


def _bytes(tensor: Tensor) -> Any:
    if tensor.is_quantized:
        tensor = tensor.int_repr()
    flat = tensor.detach().to_dense() if tensor.layout != torch.strided else tensor.detach()
    return flat.cpu().contiguous().flatten().view(torch.uint8).numpy()  # a buffer, without a copy
