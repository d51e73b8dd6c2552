"""Files of arrays with a JSON header; they are read without pickle, and sizes are checked before reading."""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from whywrong.core.errors import BadItemError, DataError
from whywrong.data.sources.npy import Archive

_HEADER = "header"
_MOST_HEADER = 2**20
_MOST_MEMBERS = 200
_KINDS = "biufU"  # bool, integers, floats, text


def write_arrays(path: Path, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays and a header.

    Equal input gives equal bytes.

    Args:
        path: File to write; an existing file is replaced.
        header: JSON object.
        arrays: Arrays of numbers, booleans or text, with at least one axis.
    """
    text = json.dumps(header, sort_keys=True, ensure_ascii=False, allow_nan=False).encode()
    everything = {_HEADER: np.frombuffer(text, dtype=np.uint8), **arrays}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
        for name, array in everything.items():
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)
            file.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue(), zipfile.ZIP_DEFLATED, 9)


def read_arrays(path: Path, most_bytes: int) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read a header and its arrays.

    Args:
        path: File written by :func:`write_arrays`.
        most_bytes: Largest accepted total size of the unpacked arrays in bytes.

    Raises:
        DataError: The file is damaged, holds Python objects, or is larger than accepted.
    """
    archive = Archive(str(path))
    name = Path(path).name
    if len(archive.members) > _MOST_MEMBERS:
        raise DataError(f"{name}: {len(archive.members)} arrays; at most {_MOST_MEMBERS} are expected")
    readers = {}
    left = most_bytes
    for member in archive.members:
        reader = archive.array(member.removesuffix(".npy")) if member.endswith(".npy") else None
        if reader is None:
            raise DataError(f"{name}: the member {member!r} is no array; the file was not written by whywrong")
        if reader.dtype.kind not in _KINDS:
            raise DataError(f"{name}: {member} holds {reader.dtype}; numbers and text are expected")
        left -= math.prod(reader.shape) * reader.dtype.itemsize
        if left < 0:
            raise DataError(f"{name}: more than {most_bytes:,} bytes unpacked; the file was not written by whywrong")
        readers[member.removesuffix(".npy")] = reader
    try:
        arrays = {key: reader.rows(0, len(reader)) for key, reader in readers.items()}
    except BadItemError as error:
        raise DataError(f"{name}: {error.reason}") from None
    finally:
        for reader in readers.values():
            reader.close()
    return _header(name, arrays.pop(_HEADER, None)), arrays


def _header(name: str, stored: np.ndarray | None) -> dict[str, Any]:
    """Parse the JSON header."""
    if stored is None or stored.dtype != np.uint8 or stored.ndim != 1 or len(stored) > _MOST_HEADER:
        raise DataError(f"{name}: no header; the file was not written by whywrong")
    try:
        found = json.loads(stored.tobytes().decode())
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name}: the header is no JSON: {error}") from None
    if not isinstance(found, dict):
        raise DataError(f"{name}: the header is no JSON object")
    return found
