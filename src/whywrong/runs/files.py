"""Files that a crash cannot tear and damage cannot change unseen.

A file appears by write to a temporary name in the same folder, fsync, rename, fsync of the folder. It carries a seal,
the BLAKE2b digest of itself with the seal blanked, so that a flipped or missing byte is noticed later.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from whywrong.core.errors import EnvironmentFailure

MARK = b"whywrong-seal:"
BLANK = b"0" * 32
SCRATCH = ".listing."  # prefix of folders that hold nothing beyond a listing in progress
_HEAD = 4096  # safetensors start with their metadata
_TAIL = 1 << 20  # Parquet and run.json end with theirs
_BLOCK = 1 << 20
_FULL = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "the disk quota is used up"}


def commit(path: Path, content: bytes) -> None:
    """Put ``content``, sealed where it holds a blank seal, at ``path`` in one step.

    Raises:
        EnvironmentFailure: The disk is full or fails; what was there before is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        make_folder(path.parent)
        with open(temporary, "wb") as file:
            for piece in _sealed(content, _in_head(path)):
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        why = _FULL.get(error.errno or 0, f"writing failed ({error.strerror or error})")
        raise EnvironmentFailure(
            f"{path}: {why}; what is committed stays, start the same command again to resume"
        ) from error


def intact(path: Path) -> bool:
    """Whether the file is there and equals what was committed."""
    try:
        with open(path, "rb") as file:
            at = _seal_position(file.read(_HEAD), _read_tail(file), _in_head(path))
            if at is None:
                return False
            size = file.seek(0, os.SEEK_END)
            digest = hashlib.blake2b(digest_size=16)
            file.seek(0)
            for block in _blocks(file, at):
                digest.update(block)
            stated = file.read(len(BLANK))
            digest.update(BLANK)
            for block in _blocks(file, size - at - len(BLANK)):
                digest.update(block)
    except OSError:
        return False
    return stated == digest.hexdigest().encode()


def make_folder(path: Path) -> None:
    """Create a folder and its parents so that they outlive a power loss."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(exist_ok=True)
    _sync_folder(path.parent)


def tidy(folder: Path) -> None:
    """Remove what killed writers left behind."""
    for leftover in folder.rglob(".*.tmp"):
        with contextlib.suppress(OSError):
            leftover.unlink()
    for leftover in folder.glob(SCRATCH + "*"):
        shutil.rmtree(leftover, ignore_errors=True)


def _in_head(path: Path) -> bool:
    """Whether the seal stands at the start of such a file; the first or last mark counts, data may quote others."""
    return path.suffix == ".safetensors"


def _sealed(content: bytes, in_head: bool) -> Iterator[bytes | memoryview]:
    at = content.find(MARK + BLANK, 0, _HEAD) if in_head else content.rfind(MARK + BLANK)
    view = memoryview(content)
    if at < 0:
        yield view
        return
    at += len(MARK)
    digest = hashlib.blake2b(content, digest_size=16).hexdigest().encode()
    yield view[:at]
    yield digest
    yield view[at + len(BLANK) :]


def _seal_position(head: bytes, tail: tuple[int, bytes], in_head: bool) -> int | None:
    start, text = (0, head) if in_head else tail
    at = text.find(MARK) if in_head else text.rfind(MARK)
    return start + at + len(MARK) if at >= 0 else None


def _read_tail(file: BinaryIO) -> tuple[int, bytes]:
    size = file.seek(0, os.SEEK_END)
    start = max(0, size - _TAIL)
    file.seek(start)
    return start, file.read()


def _blocks(file: BinaryIO, count: int) -> Iterator[bytes]:
    while count > 0:
        block = file.read(min(_BLOCK, count))
        if not block:
            return
        count -= len(block)
        yield block


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # folders cannot be opened there; the rename itself is durable
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
