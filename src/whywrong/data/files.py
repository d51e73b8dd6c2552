"""Handle file names that are not UTF-8, links, pipes, and files that vanish."""

from __future__ import annotations

import errno
import heapq
import io
import os
import stat
import struct
import tempfile
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import BinaryIO

from whywrong.core.errors import BadItemError

MAX_FILE_BYTES = 2**30
"""Larger files are not images; they become failed items before they are read."""

_SORT_CHUNK = 50_000
_LENGTH = struct.Struct("<I")


def path_text(path: bytes) -> str:
    """Convert a path to text.

    On every machine it is decoded as UTF-8, with other bytes as surrogate escapes.
    """
    return path.decode("utf-8", "surrogateescape")


def path_bytes(text: str) -> bytes:
    """Convert text back to a path, as the inverse of :func:`path_text`.

    Lone surrogates that JSON may hold are accepted, too.
    """
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def to_text(name: str) -> str:
    r"""Make a name safe to display as valid Unicode on one line.

    It has no control or direction characters.

    Bytes that are not UTF-8 become ``\xNN``, other unprintable characters ``\n``, ``\u202e`` and so on.
    """
    return "".join(_shown(character) for character in name)


def _shown(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or code in _DIRECTION:
        return character.encode("unicode_escape", "surrogatepass").decode("ascii")
    return character


_DIRECTION = {0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)}


def open_regular(path: bytes) -> BinaryIO:
    """Open a regular file for reading.

    It never waits for pipes, devices or sockets.

    Raises:
        BadItemError: The file is missing, unreadable, or not a regular file.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
    try:
        # Check first, since opening a device can have effects; O_NONBLOCK and fstat handle a swap in between.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise BadItemError("not a regular file")
        descriptor = os.open(path, flags)
    except OSError as error:
        raise BadItemError(unreadable(error)) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise BadItemError("not a regular file")
    return io.FileIO(descriptor, "rb")  # type: ignore[return-value]


Judge = Callable[[bytes, int], None]
"""Told the first kilobyte of a file and its size; raises BadItemError if the rest need not be read."""

HEAD = 1024


def read_regular(path: bytes, limit: int = MAX_FILE_BYTES, judge: Judge | None = None) -> bytes:
    """Read all bytes of a regular file.

    Args:
        path: The file.
        limit: Maximum number of bytes.
        judge: Can refuse the file by its first bytes.

    Raises:
        BadItemError: As :func:`open_regular`, or the file is larger than ``limit`` bytes, refused by ``judge``, or
            fails while it is read.
    """
    with open_regular(path) as file:
        try:
            size = os.fstat(file.fileno()).st_size
            if size > limit:
                raise BadItemError(f"file of {size} bytes, the cap is {limit}")
            if judge is not None:
                judge(file.read(HEAD) or b"", size)
                file.seek(0)
            data = file.read(size + 1) or b""
            while len(data) < size:  # a raw read may return fewer bytes than requested
                more = file.read(size + 1 - len(data))
                if not more:
                    break
                data += more
        except OSError as error:
            raise BadItemError(unreadable(error)) from error
    if len(data) != size:
        raise BadItemError(f"file changed while it was read ({size} bytes before, {len(data)} after)")
    return data


def unreadable(error: OSError) -> str:
    """Return the reason why a file cannot be read."""
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return "file has vanished or is missing"
    return f"file cannot be read: {os.strerror(error.errno) if error.errno else error}"


def sorted_bytes(items: Iterable[bytes], chunk: int = _SORT_CHUNK) -> Iterator[bytes]:
    """Sort items in bounded memory.

    Beyond ``chunk`` items, sorted runs are stored in temporary files.
    """
    iterator = iter(items)
    first = sorted(islice(iterator, chunk))
    if len(first) < chunk:
        yield from first
        return
    runs: list[BinaryIO] = []
    try:
        while first:
            runs.append(_spill(first))
            first = sorted(islice(iterator, chunk))
        yield from heapq.merge(*(_unspill(run) for run in runs))
    finally:
        for run in runs:
            run.close()


def _spill(items: list[bytes]) -> BinaryIO:
    file = tempfile.TemporaryFile(prefix="whywrong-")  # noqa: SIM115  lives as long as the merge
    for item in items:
        file.write(_LENGTH.pack(len(item)) + item)
    file.seek(0)
    return file  # type: ignore[return-value]


def _unspill(file: BinaryIO) -> Iterator[bytes]:
    while head := file.read(_LENGTH.size):
        yield file.read(_LENGTH.unpack(head)[0])
