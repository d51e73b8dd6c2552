"""Load weights from safetensors and ``torch.save`` checkpoints. Nothing in a file is ever executed.

The headers of safetensors files are checked before the library reads them; :mod:`whywrong.models.weights.pickled` reads
every other file, and :mod:`whywrong.models.weights.states` finds the weights of the module in it.
"""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from whywrong.core.errors import InputError, ModelError
from whywrong.models.kinds import unwrap
from whywrong.models.weights.pickled import REMEDY, read_pickled
from whywrong.models.weights.states import choose_state, named_tables, renamed

HEADER_CAP = 100_000_000  # bytes, same limit as in the safetensors library
ITEM_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "U16": 2, "I16": 2, "F16": 2, "BF16": 2,
    "U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8,
}  # fmt: skip


def load_weights(
    module: nn.Module,
    path: Path,
    *,
    key: str | None = None,
    optional: Sequence[str] = (),
    rename: Callable[[str], str] | None = None,
) -> tuple[str, ...]:
    """Load the weights of a file into a module.

    Every weight of the module must be found.

    Args:
        module: Receives the weights; a compiled or ``DataParallel`` one passes them to the module inside.
        path: Safetensors file, or any file of ``torch.save`` that holds named tensors.
        key: Set of weights to load if the file holds several, such as ``state_dict_ema``.
        optional: Prefixes of names that the file may hold in addition to those of the module.
        rename: Maps names in older files to the names of the module.

    Returns:
        Notes on stripped prefixes and omitted weights, one sentence each.

    Raises:
        InputError: The file does not exist.
        ModelError: The file is not plain weights, is damaged, belongs to another architecture or class count (the first
            five mismatches are listed), holds several sets, or a value that is not finite (named).
    """
    content, ignored = read_state(path)
    module = unwrap(module)
    if rename is not None:
        content = renamed(content, rename)
    state, notes = choose_state(content, module, path.name, key=key, optional=optional)
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
            raise ModelError(
                f'{path.name}: weight "{name}" holds NaN or infinity; the training diverged or it is damaged'
            )
    ordered = OrderedDict(state)
    # Some modules read their layout version from here; files without it are assumed to have the current layout.
    ordered._metadata = getattr(module.state_dict(), "_metadata", {})  # type: ignore[attr-defined]
    try:
        module.load_state_dict(ordered, strict=False)
    except Exception as error:
        raise ModelError(f"{path.name} cannot be put into {type(module).__name__}: {error}") from error
    if ignored:
        notes.append(f"{path.name}: objects that are no tensors were left out unread ({', '.join(ignored[:5])})")
    return tuple(notes)


def read_state(path: Path) -> tuple[Any, tuple[str, ...]]:
    """Read a safetensors file or ``torch.save`` checkpoint, without executing it.

    Returns:
        Tensors by name, possibly in nested tables; and the classes of omitted objects.

    Raises:
        InputError: The file does not exist.
        ModelError: The file does not hold plain, complete weights.
    """
    if not path.is_file():
        raise InputError(f"no weights at {path}")
    with path.open("rb") as file:
        start = file.read(9)
    if path.suffix == ".safetensors" or start[8:9] == b"{":
        return _read_safetensors(path), ()
    content, ignored = read_pickled(path)
    if not isinstance(content, Mapping) or not any(True for _ in named_tables(content)):
        raise ModelError(f"{path.name} holds {type(content).__name__}, not a table of named tensors; {REMEDY}")
    return content, ignored


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    _check_header(path)
    try:
        return load_file(path)
    except (SafetensorError, RuntimeError, ValueError, OSError) as error:
        raise ModelError(f"{path.name} is not a valid safetensors file: {error}") from error


def _check_header(path: Path) -> None:
    """Refuse a safetensors header that lists tensors which the file does not hold, and name the key."""
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
