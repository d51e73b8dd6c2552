"""Store results of units, frozen dataclasses of arrays and plain values, in a safetensors file.

What is read is rebuilt by the type that the caller expects, never by the type that the file states.
"""

from __future__ import annotations

import dataclasses
import json
import types
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np

from whywrong.core.errors import RunFolderError

_PLAIN, _SCALAR = "plain", "s"


def pack(value: Any) -> dict[str, np.ndarray]:
    """Convert a value to named arrays.

    One of them holds everything but arrays, as JSON.

    Raises:
        TypeError: The value holds something other than dataclasses, sequences, mappings, tensors and plain values.
    """
    arrays: dict[str, np.ndarray] = {}
    plain = json.dumps(_plain(value, arrays), allow_nan=True)
    return {_PLAIN: np.frombuffer(plain.encode(), np.uint8), **arrays}


def unpack(kind: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """Rebuild a value of type ``kind``.

    Raises:
        RunFolderError: The arrays do not hold such a value.
    """
    try:
        return _value(kind, json.loads(arrays[_PLAIN].tobytes()), arrays)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise RunFolderError(f"a stored part is not as expected ({type(error).__name__}: {error})") from error


def layout(kind: Any) -> str:
    """Describe how values of a type are stored.

    A stored value can be read only as a type of the same layout.
    """
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind)
        return f"({', '.join(f'{field.name}: {layout(hints[field.name])}' for field in dataclasses.fields(kind))})"
    parts = get_args(kind)
    name = getattr(get_origin(kind) or kind, "__qualname__", str(kind))
    return f"{name}[{', '.join(map(layout, parts))}]" if parts and get_origin(kind) is not Literal else str(name)


def _plain(value: Any, arrays: dict[str, np.ndarray]) -> Any:
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, bytes):
        value = np.frombuffer(value, np.uint8)
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray):
        name = f"{len(arrays)}" if value.ndim else f"{len(arrays)}{_SCALAR}"  # files store no arrays without dimensions
        arrays[name] = value
        return name
    if dataclasses.is_dataclass(value):
        return [_plain(getattr(value, field.name), arrays) for field in dataclasses.fields(value)]
    if isinstance(value, Mapping):
        return [[_plain(key, arrays), _plain(entry, arrays)] for key, entry in value.items()]
    if isinstance(value, Sequence):
        return [_plain(entry, arrays) for entry in value]
    raise TypeError(f"a unit and its result hold dataclasses, tensors and plain values, not {type(value).__name__}")


def _value(kind: Any, plain: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if plain is None:
            return None
        (kind,) = (part for part in parts if part is not type(None))
        return _value(kind, plain, arrays)
    if origin is Literal:
        return parts[parts.index(plain)]
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind)
        names = [field.name for field in dataclasses.fields(kind)]
        return kind(**{name: _value(hints[name], entry, arrays) for name, entry in zip(names, plain, strict=True)})
    if origin is tuple and parts[-1] is not Ellipsis:
        return tuple(_value(part, entry, arrays) for part, entry in zip(parts, plain, strict=True))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {_value(parts[0], key, arrays): _value(parts[1], entry, arrays) for key, entry in plain}
    if isinstance(origin, type) and issubclass(origin, Sequence):
        found = [_value(parts[0], entry, arrays) for entry in plain]
        return tuple(found) if origin is tuple else found
    if kind is bytes:
        return arrays[plain].tobytes()
    if kind is np.ndarray or origin is np.ndarray:
        return _array(arrays, plain)
    if getattr(kind, "__module__", "").startswith("torch"):
        import torch

        return torch.from_numpy(_array(arrays, plain).copy())
    if kind in (bool, int, float, str) and isinstance(plain, (bool, int, float, str)):
        return kind(plain)
    raise TypeError(f"expected {kind}, found {type(plain).__name__}")


def _array(arrays: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    return arrays[name].reshape(()) if name.endswith(_SCALAR) else arrays[name]
