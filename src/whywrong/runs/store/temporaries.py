"""Temporary files that name their maker, so that leftovers of a killed process can be recognised.

A file is written under the temporary name ``.NAME.PID.TOKEN.tmp`` in the same folder, and renamed. The token is a
digest of name, process and a nonce: a file with a valid token was made here, and one that only looks similar is left
alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Callable
from pathlib import Path

_NAME = re.compile(r"\.(?P<name>.+)\.(?P<pid>\d{1,10})\.(?P<nonce>[0-9a-f]{8})(?P<digest>[0-9a-f]{12})\.tmp", re.DOTALL)
_live: set[str] = set()  # paths that this process is writing now


def temporary_for(target: Path) -> Path:
    """Return a new temporary name beside ``target``, without making the file."""
    pid, nonce = os.getpid(), secrets.token_hex(4)
    return target.with_name(f".{target.name}.{pid}.{nonce}{_digest(target.name, pid, nonce)}.tmp")


def target_of(name: str) -> str | None:
    """Return the target's name of a temporary file, or None for any other name."""
    found = _NAME.fullmatch(name)
    if found is None or found["digest"] != _digest(found["name"], int(found["pid"]), found["nonce"]):
        return None
    return found["name"]


def begin(path: Path) -> None:
    """Register a temporary file in use, so that no sweep removes it."""
    _live.add(os.path.abspath(path))


def end(path: Path) -> None:
    """Unregister a temporary file."""
    _live.discard(os.path.abspath(path))


def abandoned(path: Path, pid: int) -> bool:
    """Check if the process that made a temporary file has ended without finishing it."""
    if pid == os.getpid():  # containers give a new process the number of the old one
        return os.path.abspath(path) not in _live
    return not _is_running(pid)


def sweep(folder: Path, ours: Callable[[str], bool]) -> None:
    """Remove abandoned temporary files in one folder.

    Args:
        folder: Only its direct entries are checked.
        ours: Whether a target of this name is written in this folder.
    """
    try:
        names = os.listdir(folder)
    except OSError:
        return
    for name in names:
        found = _NAME.fullmatch(name)
        if found is not None and (target := target_of(name)) is not None and ours(target):
            remove(folder / name, int(found["pid"]))


def remove(path: Path, pid: int) -> None:
    """Remove an abandoned temporary file, if it is a plain file."""
    with contextlib.suppress(OSError):
        if stat.S_ISREG(os.lstat(path).st_mode) and abandoned(path, pid):
            path.unlink()


def _digest(name: str, pid: int, nonce: str) -> str:
    text = f"whywrong {pid} {nonce} {name}".encode("utf-8", "surrogateescape")
    return hashlib.blake2b(text, digest_size=6).hexdigest()


def _is_running(pid: int) -> bool:
    if os.name == "nt":  # a file in use cannot be removed there, and a signal of 0 would end the process
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it exists, and belongs to somebody else
        return True
    return True
