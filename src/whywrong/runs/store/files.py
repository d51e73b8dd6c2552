"""Write files atomically and verify them by checksum.

A file is written to a temporary name in the same folder, synced and renamed, and then the folder is synced. Its
checksum, the BLAKE2b digest of itself with the checksum blanked, is stored inside, so that a flipped or missing byte is
noticed on reading.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from whywrong.core.errors import EnvironmentFailure, RunFolderError
from whywrong.runs.store.temporaries import begin, end, temporary_for

MARK = b"whywrong-seal:"
BLANK = b"0" * 32
_HEAD = 4096  # safetensors files start with their metadata
_TAIL = 1 << 20  # Parquet files and run.json end with theirs
_BLOCK = 1 << 20
_SETTLED = 2 * 10**9  # nanoseconds after which the times of a file distinguish it from any later one
_CAUTIOUS = sum(getattr(os, flag, 0) for flag in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_BINARY"))
_KINDS = {
    stat.S_IFLNK: "a link",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFREG: "a file",
}
_FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file grows beyond the largest size allowed here",
}
_FAILING = {*_FULL, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
_RESUME = "what is committed stays, start the same command again to resume"
_whole: dict[str, tuple[int, ...]] = {}  # files with a verified checksum, with size and times at that moment


def commit(path: Path, content: bytes) -> None:
    """Write ``content`` to ``path`` atomically, and fill in a blank checksum.

    Raises:
        EnvironmentFailure: The disk is full or fails; the former file is unchanged.
    """
    with replacing(path, _RESUME) as file:
        for piece in _sealed(content, _in_head(path)):
            file.write(piece)


@contextmanager
def replacing(path: Path, remedy: str) -> Iterator[BinaryIO]:
    """Yield a file that replaces ``path`` atomically if the block succeeds.

    Args:
        path: The file; its folder is created if missing. A link there is replaced, not followed.
        remedy: What to do if the disk fails, for the message.

    Raises:
        EnvironmentFailure: The disk is full or fails; the former file is unchanged.
    """
    temporary = temporary_for(path)
    begin(temporary)
    try:
        make_folder(path.parent)
        with open(temporary, "xb", opener=_create) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):  # the disk may be unavailable: report the first error
            temporary.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise EnvironmentFailure(f"{path}: {_why(error)}; {remedy}") from error
    finally:
        end(temporary)


@contextmanager
def preparing(folder: Path) -> Iterator[None]:
    """Convert system errors while a run folder is prepared to ones with a remedy.

    Raises:
        EnvironmentFailure: The disk is full or fails; committed results stay.
        RunFolderError: The folder cannot be written at all.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FAILING:
            raise EnvironmentFailure(f"{folder}: {_why(error)}; {_RESUME}") from error
        raise RunFolderError(f"{folder}: the run folder cannot be written ({error.strerror or error})") from error


def _why(error: OSError) -> str:
    return _FULL.get(error.errno or 0, f"writing failed ({error.strerror or error})")


def open_plain(path: Path) -> BinaryIO:
    """Open a file of a run for reading, without following links.

    Pipes and devices never block.

    Raises:
        RunFolderError: It is a link, a folder, a pipe, a socket or a device.
        OSError: It is missing or cannot be opened.
    """
    # A look first: opening a device can already have effects. A swap in between meets the flags and the second look.
    check_kind(path, os.lstat(path).st_mode)
    descriptor = os.open(path, os.O_RDONLY | _CAUTIOUS)
    try:
        check_kind(path, os.fstat(descriptor).st_mode)
    except RunFolderError:
        os.close(descriptor)
        raise
    return os.fdopen(descriptor, "rb")


def check_kind(path: Path, mode: int, *, folder: bool = False) -> None:
    """Check that a path of a run is a plain file, or a folder.

    Raises:
        RunFolderError: Names the path and its kind.
    """
    if not (stat.S_ISDIR(mode) if folder else stat.S_ISREG(mode)):
        kind = _KINDS.get(stat.S_IFMT(mode), "a device")
        wanted = "folder" if folder else "file"
        raise RunFolderError(
            f"{path}: expected a plain {wanted} of a run, found {kind}; "
            + ("put the real one there" if stat.S_ISLNK(mode) else "remove it")
        )


def intact(path: Path) -> bool:
    """Check if the file exists, is plain, and equals what was committed."""
    try:
        with open_plain(path) as file:
            return _seal_is_right(file, _in_head(path))
    except (OSError, RunFolderError):
        return False


def check_whole(path: Path) -> None:
    """Verify that a file equals what was committed.

    Done once per process while the file does not change.

    Raises:
        RunFolderError: It is missing, damaged, or not a plain file; says what to do.
    """
    try:
        with open_plain(path) as file:
            _check_once(path, file)
    except OSError as error:
        raise RunFolderError(_missing(path, error)) from error


def read_whole(path: Path) -> bytes:
    """Read a file that equals what was committed.

    Raises:
        RunFolderError: As :func:`check_whole`.
    """
    try:
        with open_plain(path) as file:
            _check_once(path, file)
            file.seek(0)
            return file.read()
    except OSError as error:
        raise RunFolderError(_missing(path, error)) from error


def _check_once(path: Path, file: BinaryIO) -> None:
    facts = os.fstat(file.fileno())
    signature = facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns
    key = os.path.abspath(path)
    if _whole.get(key) == signature:
        return
    if not _seal_is_right(file, _in_head(path)):
        raise RunFolderError(f"{path}: the file is damaged (its checksum does not match); {_remedy(path)}")
    age = time.time_ns() - max(facts.st_mtime_ns, facts.st_ctime_ns)
    if age > _SETTLED:  # a later change within one tick of the file system's clock would not change the signature
        _whole[key] = signature


def _missing(path: Path, error: OSError) -> str:
    return f"{path}: the file is missing or cannot be read ({error.strerror or error}); {_remedy(path)}"


def _remedy(path: Path) -> str:
    command = "whywrong diagnose" if path.stem.isdigit() or path.stem in ("schema", "run") else "command"
    return f"run the same {command} again, which puts damaged files into quarantine and redoes them"


def _seal_is_right(file: BinaryIO, in_head: bool) -> bool:
    file.seek(0)
    at = _seal_position(file.read(_HEAD), _read_tail(file), in_head)
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
    return stated == digest.hexdigest().encode()


def make_folder(path: Path) -> None:
    """Create a folder and its parents durably, so that they survive a power loss."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(exist_ok=True)
    _sync_folder(path.parent)


def _in_head(path: Path) -> bool:
    """Check if the checksum is at the start of such a file; the first or last mark counts, data may quote others."""
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


def _create(path: str, flags: int) -> int:
    return os.open(path, flags | _CAUTIOUS, 0o666)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # folders cannot be opened there; the rename itself is durable
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
