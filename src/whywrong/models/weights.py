"""Weights from files: safetensors and state dicts. Nothing in a file is ever executed.

Safetensors headers are checked by us before the library sees them; every other file goes through
``torch.load(weights_only=True)``, after a look at the zip directory. A file with anything but tensors is refused.
"""

from __future__ import annotations

import json
import math
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from whywrong.core.errors import InputError, ModelError

HEADER_CAP = 100_000_000  # bytes, as the safetensors library has it
ITEM_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "U16": 2, "I16": 2, "F16": 2, "BF16": 2,
    "U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8,
}  # fmt: skip
WRAPPERS = ("state_dict", "model_state_dict", "model", "state_dict_ema", "model_ema", "net", "weights")
PREFIXES = ("module.", "_orig_mod.")
REMEDY = (
    "whole pickled modules and checkpoints with code are never opened; where the model was made, save its weights: "
    "safetensors.torch.save_file(model.state_dict(), 'weights.safetensors'), or torch.save(model.state_dict(), ...)"
)


def load_weights(module: nn.Module, path: Path) -> None:
    """Put the weights of a file into a module; every key must match.

    Raises:
        InputError: No such file.
        ModelError: The file is not plain weights, is damaged, belongs to another architecture or class count (the
            first five mismatches are listed), or holds a value that is not finite (the key is named).
    """
    state = read_state(path)
    expected = dict(module.state_dict())
    wrong = _mismatches(state, expected)
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise ModelError(
            f"{path.name} does not fit {type(module).__name__}: {'; '.join(wrong[:5])}{more}. It belongs to another "
            "architecture or number of classes; where only the last layer differs, pass the classes it was trained on"
        )
    for key, tensor in state.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise ModelError(
                f'{path.name}: weight "{key}" holds NaN or infinity; the training diverged or it is damaged'
            )
    module.load_state_dict(state, strict=False)


def _mismatches(state: Mapping[str, Tensor], expected: Mapping[str, Any]) -> list[str]:
    wrong = []
    for key, target in expected.items():
        if key not in state:
            if not key.endswith("num_batches_tracked"):  # a counter that no prediction reads
                wrong.append(f'"{key}" is missing')
        elif isinstance(target, Tensor) and state[key].shape != target.shape:
            wrong.append(f'"{key}" is {tuple(state[key].shape)} in the file, {tuple(target.shape)} in the model')
        elif isinstance(target, Tensor) and state[key].is_floating_point() != target.is_floating_point():
            wrong.append(f'"{key}" is {state[key].dtype} in the file, {target.dtype} in the model')
    return wrong + [f'"{key}" is not in the model' for key in state if key not in expected]


def read_state(path: Path) -> dict[str, Tensor]:
    """Names and tensors of a safetensors file or of a state dict saved by ``torch.save``.

    Raises:
        InputError: No such file.
        ModelError: Anything else than plain, complete weights.
    """
    if not path.is_file():
        raise InputError(f"no weights at {path}")
    with path.open("rb") as file:
        start = file.read(9)
    if path.suffix == ".safetensors" or start[8:9] == b"{":
        return _read_safetensors(path)
    return _read_pickle(path)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    _check_header(path)
    try:
        return load_file(path)
    except (SafetensorError, RuntimeError, ValueError, OSError) as error:
        raise ModelError(f"{path.name} is not a valid safetensors file: {error}") from error


def _check_header(path: Path) -> None:
    """Refuse a safetensors header that promises what the file does not hold, and name the key."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > min(size - 8, HEADER_CAP):
            raise ModelError(
                f"{path.name}: the header claims {length} bytes, the file has {size}; truncated or damaged"
            )
        raw = file.read(length)
    try:
        header = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path.name}: the header is not valid JSON ({error})") from None
    if not isinstance(header, dict):
        raise ModelError(f"{path.name}: the header is not a table of tensors")
    spans = []
    for key, entry in header.items():
        if key == "__metadata__":
            continue
        begin, end = _check_entry(path.name, key, entry)
        spans.append((begin, end, key))
    position = 0
    for begin, end, key in sorted(spans):
        if begin != position:
            fault = "overlaps another tensor" if begin < position else "leaves a gap before it"
            raise ModelError(f'{path.name}: tensor "{key}" at bytes {begin} to {end} {fault}')
        position = end
    if position != size - 8 - length:
        last = max(spans)[2] if spans else "(none)"
        raise ModelError(
            f'{path.name}: the tensors up to "{last}" end at byte {position} of {size - 8 - length}; truncated '
            "or damaged"
        )


def _check_entry(name: str, key: str, entry: Any) -> tuple[int, int]:
    shape = _naturals(entry.get("shape")) if isinstance(entry, dict) else None
    span = _naturals(entry.get("data_offsets")) if isinstance(entry, dict) else None
    if shape is None or span is None or len(span) != 2 or entry.get("dtype") not in ITEM_BYTES:
        raise ModelError(f'{name}: tensor "{key}" has no valid dtype, shape and data_offsets: {str(entry)[:100]}')
    if span[1] - span[0] != math.prod(shape) * ITEM_BYTES[entry["dtype"]]:
        raise ModelError(f'{name}: tensor "{key}" of shape {shape} and {entry["dtype"]} cannot fill bytes {span}')
    return span[0], span[1]


def _naturals(values: Any) -> list[int] | None:
    valid = isinstance(values, list) and all(type(v) is int and 0 <= v < 2**63 for v in values)
    return values if valid else None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"key {next(key for key in keys if keys.count(key) > 1)!r} occurs twice")
    return table


def _read_pickle(path: Path) -> dict[str, Tensor]:
    _check_zip(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ModelError(f"{path.name} holds more than weights ({_first_reason(error)}); {REMEDY}") from None
    except Exception as error:  # noqa: BLE001 - a damaged file may fail in any way; none of them loads
        text = (str(error).splitlines() or [""])[0]
        raise ModelError(
            f"{path.name} cannot be read as weights ({type(error).__name__}: {text}); truncated, damaged, or {REMEDY}"
        ) from None
    return _tensors(path.name, content)


def _first_reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines()]
    telling = [line for line in lines if "GLOBAL" in line or "nsupported" in line or "WeightsUnpickler" in line]
    return (telling or lines or [""])[0][:200]


def _check_zip(path: Path) -> None:
    """Refuse archives that unfold into more than they are: ``torch.save`` stores, and never compresses."""
    try:
        if not zipfile.is_zipfile(path):
            return  # the older form is one pickle
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except Exception as error:  # noqa: BLE001 - zipfile fails in many ways on damaged directories
        raise ModelError(f"{path.name} is a damaged archive: {error}") from None
    names = [member.filename for member in members]
    if any("constants.pkl" in name for name in names):
        raise ModelError(f"{path.name} is a TorchScript program, not weights; {REMEDY}")
    odd = [m.filename for m in members if m.compress_type != zipfile.ZIP_STORED or m.file_size != m.compress_size]
    if odd or len(set(names)) != len(names) or sum(m.file_size for m in members) > path.stat().st_size:
        what = f'member "{odd[0]}" is compressed' if odd else "members overlap or occur twice"
        raise ModelError(f"{path.name} was not written by torch.save: {what}; {REMEDY}")


def _tensors(name: str, content: Any) -> dict[str, Tensor]:
    inner = [key for key in WRAPPERS if isinstance(content, Mapping) and _is_state(content.get(key))]
    if not _is_state(content) and len(inner) > 1:
        raise ModelError(f"{name} holds several sets of weights ({', '.join(inner)}); save the one to use by itself")
    state = content[inner[0]] if inner and not _is_state(content) else content
    if not _is_state(state):
        raise ModelError(f"{name} holds {type(content).__name__}, not a table of named tensors; {REMEDY}")
    state = dict(state)
    for prefix in PREFIXES:  # left by DataParallel and torch.compile
        if all(key.startswith(prefix) for key in state):
            state = {key.removeprefix(prefix): tensor for key, tensor in state.items()}
    return state


def _is_state(content: Any) -> bool:
    return (
        isinstance(content, Mapping)
        and len(content) > 0
        and all(isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items())
    )
