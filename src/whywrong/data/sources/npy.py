"""Read rows of an ``.npy`` member in an ``.npz`` one by one. Nothing is unpickled, and no array is loaded whole.

A stored member is read in place. A deflated one is decompressed from the nearest of a few snapshots of the
decompressor, so that rows can be read in any order at a bounded cost; ``zipfile`` would restart for every step back.
"""

from __future__ import annotations

import io
import math
import os
import struct
import threading
import tokenize
import zipfile
import zlib
from bisect import bisect_right
from typing import BinaryIO

import numpy as np
from numpy.lib import format as npy_format

from whywrong.core.errors import BadItemError, DataError
from whywrong.data.files import open_regular, path_bytes, to_text

_SNAPSHOT_BYTES = 16 * 2**20
_CHUNK = 2**15
_MAX_HEADER = 10_000
_LOCAL_HEADER = 30
_READ_HEADER = {
    (1, 0): npy_format.read_array_header_1_0,
    (2, 0): npy_format.read_array_header_2_0,
    (3, 0): npy_format.read_array_header_2_0,  # differs in field names only, which images and labels do not have
}


class Archive:
    """Members of an ``.npz`` file.

    Args:
        path: Path of the file.

    Raises:
        DataError: It is no ``.npz`` file, or two members have the same name.
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
                raise DataError(f'{self.name}: two members are named "{to_text(info.filename)}"')
            self.members[info.filename] = info

    def array(self, name: str) -> RowReader | None:
        """Return a reader of the member ``name`` (without ``.npy``), or None."""
        info = self.members.get(f"{name}.npy")
        return None if info is None else RowReader(self.path, info)


class RowReader:
    """Rows of one member, along its first axis.

    Attributes:
        shape: Shape of the whole array.
        dtype: Type of its elements.

    Raises:
        DataError: The member is encrypted, damaged, of object type, in Fortran order, or shorter than stated.
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
        self._member: _Stored | _Deflated | None = None
        try:
            self._read_header()
        except BadItemError as error:
            raise DataError(f"{self.where}: {error.reason}") from None

    def _read_header(self) -> None:
        """Read the header of the .npy format (NEP 1), of which numpy evaluates literals only."""
        start = io.BytesIO(self._bytes(0, min(self._info.file_size, _MAX_HEADER + 12)))
        try:
            version = npy_format.read_magic(start)
        except ValueError:
            raise BadItemError("not an .npy member") from None
        if version not in _READ_HEADER:
            raise BadItemError(f"version {version[0]}.{version[1]} of the .npy format; versions 1.0 to 3.0 are read")
        try:
            self.shape, fortran, self.dtype = _READ_HEADER[version](start, max_header_size=_MAX_HEADER)
        except (ValueError, TypeError, KeyError, RecursionError, MemoryError, tokenize.TokenError) as error:
            raise BadItemError(f"unreadable header: {error}") from error
        if self.dtype.hasobject:
            raise BadItemError("holds Python objects; they would have to be unpickled, which can run code")
        if not self.shape or min(self.shape) < 0:
            raise BadItemError(f"shape {self.shape} has no rows")
        if fortran and len(self.shape) > 1:
            raise BadItemError("in Fortran order; save it with numpy.ascontiguousarray")
        self._data = start.tell()
        self.row_bytes = self.dtype.itemsize * math.prod(self.shape[1:])
        expected = self._data + self.row_bytes * len(self)
        if expected != self._info.file_size:
            raise BadItemError(f"{self._info.file_size} bytes, {expected} expected for shape {self.shape}")

    def __len__(self) -> int:
        """Number of rows."""
        return self.shape[0]

    def rows(self, start: int, stop: int) -> np.ndarray:
        """Read rows ``start`` to ``stop`` into a new array.

        Raises:
            BadItemError: The bytes are damaged or missing.
            DataError: The checksum is wrong, which is known when the end has been read.
        """
        stop = min(stop, len(self))
        data = self._bytes(self._data + start * self.row_bytes, (stop - start) * self.row_bytes)
        return np.frombuffer(bytearray(data), dtype=self.dtype).reshape(stop - start, *self.shape[1:])

    def close(self) -> None:
        """Close the file, which reading opens again."""
        with self._lock:
            if self._member is not None:
                self._member.file.close()
            self._member = None

    def _bytes(self, start: int, size: int) -> bytes:
        with self._lock:
            try:
                if self._member is None:
                    kind = _Stored if self._info.compress_type == zipfile.ZIP_STORED else _Deflated
                    self._member = kind(open_regular(path_bytes(self._path)), self._info)
                data = self._member.read(start, size)
            except _ChecksumError:
                raise DataError(f"{self.where}: damaged, its checksum does not fit") from None
            except (OSError, zlib.error) as error:
                raise BadItemError(f"array cannot be read: {error}") from error
        if len(data) != size:
            raise BadItemError("array cannot be read: bytes are missing")
        return data


class _ChecksumError(Exception):
    pass


class _Stored:
    """Bytes of an uncompressed member."""

    def __init__(self, file: BinaryIO, info: zipfile.ZipInfo) -> None:
        self.file = file
        self._info = info
        local = _read_at(file, info.header_offset, _LOCAL_HEADER)
        if len(local) < _LOCAL_HEADER or local[:4] != b"PK\x03\x04":
            raise BadItemError("array cannot be read: damaged zip")
        name, extra = struct.unpack("<HH", local[26:30])
        self._begin = info.header_offset + _LOCAL_HEADER + name + extra

    def read(self, start: int, size: int) -> bytes:
        """Read up to ``size`` bytes from ``start``; fewer at the end of the file."""
        return _read_at(self.file, self._begin + start, size)


class _Deflated(_Stored):
    """Bytes of a deflated member; its checksum is verified when the first pass reaches the end."""

    def __init__(self, file: BinaryIO, info: zipfile.ZipInfo) -> None:
        super().__init__(file, info)
        self._snapshots = [(0, 0, zlib.decompressobj(-zlib.MAX_WBITS))]  # position, deflated bytes consumed, state
        self._crc, self._checked = 0, 0
        self._restore(0)

    def _restore(self, at: int) -> None:
        self._position, self._consumed, state = self._snapshots[at]
        self._inflate = state.copy()

    def read(self, start: int, size: int) -> bytes:
        """Read up to ``size`` bytes from ``start``; fewer at the end of the member."""
        nearest = bisect_right(self._snapshots, start, key=lambda snapshot: snapshot[0]) - 1
        if start < self._position or self._snapshots[nearest][0] > self._position:
            self._restore(nearest)
        while self._position < start:
            if not self._next(start - self._position):
                return b""
        parts = []
        while size > 0 and (data := self._next(size)):
            parts.append(data)
            size -= len(data)
        return b"".join(parts)

    def _next(self, most: int) -> bytes:
        """Return the next decompressed bytes, at most ``most``; empty at the end."""
        if self._position >= self._snapshots[-1][0] + _SNAPSHOT_BYTES:
            self._snapshots.append((self._position, self._consumed, self._inflate.copy()))
        while not self._inflate.eof:
            raw = self._inflate.unconsumed_tail
            if not raw:
                left = self._info.compress_size - self._consumed
                raw = _read_at(self.file, self._begin + self._consumed, min(_CHUNK, left))
                self._consumed += len(raw)
            data = self._inflate.decompress(raw, min(most, _CHUNK))
            if data:
                self._position += len(data)
                self._verify(data)
                return data
            if not raw:
                break
        return b""

    def _verify(self, data: bytes) -> None:
        """Update the checksum during the first pass through the member."""
        if self._position - len(data) != self._checked or self._position > self._info.file_size:
            return
        self._crc = zlib.crc32(data, self._crc)
        self._checked = self._position
        if self._checked == self._info.file_size and self._crc != self._info.CRC:
            raise _ChecksumError


def _read_at(file: BinaryIO, offset: int, size: int) -> bytes:
    """Read up to ``size`` bytes; fewer only at the end of the file."""
    file.seek(offset)
    parts = []
    while size > 0:
        part = file.read(min(size, 2**24))
        if not part:
            break
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
