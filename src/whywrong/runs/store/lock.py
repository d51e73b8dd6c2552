"""Lock of a run folder for one writer, which is released when its holder ends and names it."""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import socket
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from whywrong.core.errors import RunFolderError
from whywrong.runs.store.files import check_kind, make_folder, preparing
from whywrong.runs.store.layout import LOCK, LOCK_BYTES, parse_lock
from whywrong.runs.store.temporaries import temporary_for

_BEAT = 20.0  # seconds between heartbeats
_SILENT = 120.0  # seconds without one, after which a holder on another machine counts as dead
_APART = 120.0  # seconds by which clocks of two machines may differ
_CAUTIOUS = sum(getattr(os, flag, 0) for flag in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC"))
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}


class RunLock:
    """Context manager that holds ``lock`` of a run folder, created if missing.

    The operating system's lock on the open file decides, and is released when its process ends, in any way. The
    content (pid, host, start) is for people, and for holders on machines that share the folder without sharing locks:
    those refresh the file's time, and are respected until they stop.

    Raises:
        RunFolderError: Another run holds it, with its pid and host; the folder cannot be written; the file is no lock.
        EnvironmentFailure: The disk is full or fails.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOCK
        self._file = -1
        self._over = threading.Event()

    def __enter__(self) -> RunLock:
        me = {"pid": os.getpid(), "host": _host(), "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
        content = json.dumps(me).encode()
        with preparing(self.path.parent):
            try:
                make_folder(self.path.parent)
                self._file = self._make(content)
                if self._file < 0:
                    self._file = self._take_over(content)
            except (FileExistsError, NotADirectoryError):
                raise RunFolderError(f"{self.path.parent}: a file is in the way; name a folder for the run") from None
        threading.Thread(target=self._beat, daemon=True, name="whywrong-lock").start()
        return self

    def _make(self, content: bytes) -> int:
        """Create the lock atomically, locked and with its content; -1 if there is one already."""
        if os.path.lexists(self.path):
            return -1
        temporary = temporary_for(self.path)
        descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | _CAUTIOUS, 0o644)
        try:
            if _try_lock(descriptor):
                _fill(descriptor, content)
                os.link(temporary, self.path)
                return descriptor
        except FileExistsError:
            pass  # another run was faster
        except OSError as error:
            if error.errno not in _NO_LINKS:
                os.close(descriptor)
                raise
            # On a file system without hard links, the lock is empty for a moment.
            os.close(descriptor)
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | _CAUTIOUS, 0o644))
            return -1
        finally:
            with contextlib.suppress(OSError):  # the next run removes it
                temporary.unlink(missing_ok=True)
        os.close(descriptor)
        return -1

    def _take_over(self, content: bytes) -> int:
        """Return the existing lock, once its holder has ended.

        Raises:
            RunFolderError: Another run holds it, or it is not a lock of whywrong.
        """
        while True:
            try:
                check_kind(self.path, os.lstat(self.path).st_mode)
                descriptor = os.open(self.path, os.O_RDWR | _CAUTIOUS)
            except FileNotFoundError:  # just released by its holder
                made = self._make(content)
                if made >= 0:
                    return made
                continue
            try:
                if self._is_ours(descriptor):
                    _fill(descriptor, content)
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)

    def _is_ours(self, descriptor: int) -> bool:
        """Check if this process holds the lock now; False if the file has been replaced meanwhile.

        Raises:
            RunFolderError: Another run holds it, or it is not a lock of whywrong.
        """
        held = _try_lock(descriptor)
        content = _read(descriptor)
        if not held:
            raise RunFolderError(_refusal(self.path, content))
        if not self._is_current(descriptor):
            return False
        if content is None:
            raise RunFolderError(f"{self.path}: not a lock of a run; move it away, or use another folder")
        host = content.get("host")
        if isinstance(host, str) and host != _host():
            silent = self._silence(descriptor)
            if silent < _SILENT:
                raise RunFolderError(_refusal(self.path, content) + f"; it last gave a sign {silent:.0f} s ago")
        return True

    def _silence(self, descriptor: int) -> float:
        """Return the seconds since the last sign of life of a holder on another machine, infinite if it has ended."""
        before = os.fstat(descriptor).st_mtime
        silent = time.time() - before
        if silent >= -_APART:
            return max(silent, 0.0)
        # Its time is in the future, so the clocks do not help; a live holder gives a sign within one interval.
        until = time.monotonic() + 1.5 * _BEAT
        while time.monotonic() < until:
            time.sleep(min(0.1, _BEAT))
            if os.fstat(descriptor).st_mtime != before:
                return 0.0
        return math.inf

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        # A lock that stays is taken over by the next run.
        with contextlib.suppress(OSError):
            if self._is_current(self._file):
                self.path.unlink()
        with contextlib.suppress(OSError):
            os.close(self._file)

    def _is_current(self, descriptor: int) -> bool:
        """Check if the locked file is still the one at the path: its last holder may have removed it meanwhile."""
        try:
            return os.path.samestat(os.fstat(descriptor), os.lstat(self.path))
        except FileNotFoundError:
            return False

    def _beat(self) -> None:
        while not self._over.wait(_BEAT):
            with contextlib.suppress(OSError):
                os.utime(self._file if os.utime in os.supports_fd else self.path)


def _try_lock(descriptor: int) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        try:
            os.lseek(descriptor, 1 << 20, os.SEEK_SET)  # a byte after the content, which stays readable
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError:
            return False
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _fill(descriptor: int, content: bytes) -> None:
    """Overwrite the content, then truncate: a kill in between leaves no empty file."""
    os.lseek(descriptor, 0, os.SEEK_SET)
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
    os.ftruncate(descriptor, len(content))


def _read(descriptor: int) -> dict[str, Any] | None:
    os.lseek(descriptor, 0, os.SEEK_SET)
    return parse_lock(os.read(descriptor, LOCK_BYTES))


def _refusal(path: Path, content: dict[str, Any] | None) -> str:
    content = content or {}
    who = f"process {content.get('pid', '?')} on {content.get('host', '?')}, since {content.get('started', '?')}"
    return f"{path.parent}: another run is writing here ({who}); wait for it, or use another folder"


def _host() -> str:
    return socket.gethostname()
