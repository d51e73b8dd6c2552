"""Rows of an ``.npy`` member inside an ``.npz``, read one by one. Nothing is unpickled, no array is loaded whole.

A stored member is read in place. A deflated one is inflated from the nearest of a few snapshots of the decompressor,
so that rows may be read in any order; each snapshot holds a window of 32 KiB.
"""

from __future__ import annotations

import ast
import math
import os
import struct
import threading
import zipfile
import zlib
from bisect import bisect_right
from typing import Any, BinaryIO

import numpy as np

from whywrong.core.errors import BadItemError, DataError
from whywrong.data.files import open_regular, path_bytes, to_text

_SNAPSHOT_BYTES = 16 * 2**20
_CHUNK = 2**17
_MAX_HEADER = 10_000
_LOCAL_HEADER = 30


class Archive:
    """The members of an ``.npz`` file.

    Args:
        path: File.

    Raises:
        DataError: Not an ``.npz`` file, or a member's name stands twice.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.name = to_text(os.path.basename(path))
        try:
            with open_regular(path_bytes(path)) as file, zipfile.ZipFile(file) as archive:
                infos = archive.infolist()
        except BadItemError as error:
            raise DataError(f"{self.name}: {error.reason}") from None
        except (zipfile.BadZipFile, OSError, ValueError, struct.error, NotImplementedError) as error:
            raise DataError(f"{self.name}: not an .npz file: {error}") from None
        self.members: dict[str, zipfile.ZipInfo] = {}
        for info in infos:
            if info.filename in self.members:
                raise DataError(f'{self.name}: member "{to_text(info.filename)}" stands twice')
            self.members[info.filename] = info

    def array(self, name: str) -> RowReader | None:
        """The member ``name`` (without ``.npy``), or None."""
        info = self.members.get(f"{name}.npy")
        return None if info is None else RowReader(self.path, info)


class RowReader:
    """Rows of one member, along its first axis.

    Attributes:
        shape: Of the whole array.
        dtype: Of its elements.

    Raises:
        DataError: The member is encrypted, damaged, of objects, in Fortran order, or shorter than it says.
    """

    def __init__(self, path: str, info: zipfile.ZipInfo) -> None:
        self._info = info
        self._path = path
        self.where = f"{to_text(os.path.basename(path))}, {to_text(info.filename)}"
        if info.flag_bits & 0x1:
            raise DataError(f"{self.where}: encrypted")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise DataError(f"{self.where}: compressed in a way that numpy.savez does not write")
        self._lock = threading.Lock()
        self._file: BinaryIO | None = None
        self._reset()
        try:
            self._header()
        except BadItemError as error:
            raise DataError(f"{self.where}: {error.reason}") from None

    def _reset(self) -> None:
        self._inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        self._position = 0  # in the inflated member
        self._consumed = 0  # of the deflated bytes
        self._pending = b""
        self._snapshots: list[tuple[int, int, Any]] = []
        self._crc, self._checked = 0, 0

    def _header(self) -> None:
        """Read the header of the .npy format, version 1 to 3 (NEP 1), without evaluating anything but literals."""
        start = self._bytes(0, 12)
        if start[:6] != b"\x93NUMPY" or start[6] not in (1, 2, 3):
            raise BadItemError("not an .npy member")
        size, offset = (
            (struct.unpack("<H", start[8:10])[0], 10) if start[6] == 1 else (*struct.unpack("<I", start[8:]), 12)
        )
        if size > _MAX_HEADER:
            raise BadItemError(f"header of {size} bytes")
        try:
            header = ast.literal_eval(self._bytes(offset, size).decode("utf-8" if start[6] == 3 else "latin-1").strip())
            self.dtype = np.dtype(header["descr"])
            shape = list(header["shape"])
            fortran = header["fortran_order"]
        except (SyntaxError, ValueError, TypeError, KeyError, RecursionError, MemoryError) as error:
            raise BadItemError(f"unreadable header: {error}") from error
        if self.dtype.hasobject:
            raise BadItemError("holds Python objects; they would have to be unpickled, which can run code")
        if not shape or not all(isinstance(n, int) and n >= 0 for n in shape):
            raise BadItemError(f"shape {shape} has no rows")
        if fortran and len(shape) > 1:
            raise BadItemError("in Fortran order; save it with numpy.ascontiguousarray")
        self._data = offset + size
        self.shape: tuple[int, ...] = tuple(shape)
        self._rows = shape[0]
        self.row_bytes = self.dtype.itemsize * math.prod(shape[1:])
        expected = self._data + self.row_bytes * self._rows
        if expected != self._info.file_size:
            raise BadItemError(f"{self._info.file_size} bytes, {expected} expected for shape {self.shape}")

    def __len__(self) -> int:
        """Number of rows."""
        return self._rows

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Rows ``start`` to ``stop``, a fresh array.

        Raises:
            BadItemError: The bytes are damaged or missing.
            DataError: The end was reached and the checksum of the member is wrong.
        """
        stop = min(stop, len(self))
        data = self._bytes(self._data + start * self.row_bytes, (stop - start) * self.row_bytes)
        return np.frombuffer(bytearray(data), dtype=self.dtype).reshape(stop - start, *self.shape[1:])

    def close(self) -> None:
        """Close the file; reading opens it again."""
        with self._lock:
            if self._file is not None:
                self._file.close()
            self._file = None
            self._reset()

    def _bytes(self, start: int, size: int) -> bytes:
        with self._lock:
            try:
                file = self._open()
                if self._info.compress_type == zipfile.ZIP_STORED:
                    data = _read_at(file, self._begin + start, size)
                else:
                    data = self._inflated(file, start, size)
            except (OSError, zlib.error, struct.error) as error:
                raise BadItemError(f"array cannot be read: {error}") from error
        if len(data) != size:
            raise BadItemError("array cannot be read: bytes are missing")
        return data

    def _open(self) -> BinaryIO:
        if self._file is None:
            self._file = open_regular(path_bytes(self._path))
            local = _read_at(self._file, self._info.header_offset, _LOCAL_HEADER)
            if local[:4] != b"PK\x03\x04":
                raise BadItemError("array cannot be read: damaged zip")
            name, extra = struct.unpack("<HH", local[26:30])
            self._begin = self._info.header_offset + _LOCAL_HEADER + name + extra
        return self._file

    def _inflated(self, file: BinaryIO, start: int, size: int) -> bytes:
        nearest = bisect_right([position for position, _, _ in self._snapshots], start) - 1
        if start < self._position or (nearest >= 0 and self._snapshots[nearest][0] > self._position):
            self._rewind(nearest)
        parts: list[bytes] = []
        while self._position < start + size:
            data = self._next(file)
            if not data:
                break
            begin = self._position - len(data)
            parts.append(data[max(0, start - begin) : start + size - begin] if self._position > start else b"")
            if self._position > start + size:  # keep the rest for the next row
                self._unread(data[start + size - begin :])
        return b"".join(parts)

    def _unread(self, rest: bytes) -> None:
        self._pending = rest + self._pending
        self._position -= len(rest)

    def _next(self, file: BinaryIO) -> bytes:
        """The next inflated bytes; empty at the end."""
        if self._pending:
            data, self._pending = self._pending, b""
            self._position += len(data)
            return data
        last = self._snapshots[-1][0] if self._snapshots else 0
        if self._position >= last + _SNAPSHOT_BYTES:
            self._snapshots.append((self._position, self._consumed, self._inflate.copy()))
        data = b""
        while not data and not self._inflate.eof:
            raw = self._inflate.unconsumed_tail
            if not raw:
                raw = _read_at(
                    file, self._begin + self._consumed, min(_CHUNK, self._info.compress_size - self._consumed)
                )
                self._consumed += len(raw)
            if not raw:
                break
            data = self._inflate.decompress(raw, _CHUNK)
        self._position += len(data)
        if self._position <= self._info.file_size:
            self._check(data)
        return data

    def _check(self, data: bytes) -> None:
        """Carry the checksum along the first pass through the member."""
        if self._position - len(data) != self._checked:
            return
        self._crc = zlib.crc32(data, self._crc)
        self._checked = self._position
        if self._checked == self._info.file_size and self._crc != self._info.CRC:
            raise DataError(f"{self.where}: damaged, its checksum does not fit")

    def _rewind(self, at: int) -> None:
        if at < 0:
            self._inflate, self._position, self._consumed = zlib.decompressobj(-zlib.MAX_WBITS), 0, 0
        else:
            self._position, self._consumed, saved = self._snapshots[at]
            self._inflate = saved.copy()
        self._pending = b""


def _read_at(file: BinaryIO, offset: int, size: int) -> bytes:
    """Up to ``size`` bytes; fewer only at the end of the file."""
    file.seek(offset)
    parts = []
    while size > 0:
        part = file.read(min(size, 2**24))
        if not part:
            break
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
