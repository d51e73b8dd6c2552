"""One writer at a time: a lock that dies with its holder and says who holds it."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from pathlib import Path
from types import TracebackType

from whywrong.core.errors import RunFolderError

_BEAT = 20.0  # seconds between signs of life
_SILENT = 120.0  # seconds without one, after which a holder on another machine counts as gone


class RunLock:
    """Holds ``lock`` of a run folder inside a ``with`` block.

    The operating system's lock on the open file decides, and falls with the process that holds it, however it ends.
    The content (pid, host, start) is for people, and for holders on machines that share the folder without sharing
    locks: those refresh the file's time, and are left alone until they fall silent.

    Raises:
        RunFolderError: Another run holds it; names its pid and host.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "lock"
        self._file = -1
        self._over = threading.Event()

    def __enter__(self) -> RunLock:
        while True:
            try:
                self._file = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            except OSError as error:
                raise RunFolderError(f"{self.path}: the run folder cannot be written ({error.strerror})") from error
            held = _try_lock(self._file)
            if held and self._is_current():
                break
            content = _read(self._file)
            os.close(self._file)
            if not held:
                raise RunFolderError(_refusal(self.path, content))
        content = _read(self._file)
        silent = time.time() - os.fstat(self._file).st_mtime
        if content.get("host", _host()) != _host() and silent < _SILENT:
            os.close(self._file)
            raise RunFolderError(_refusal(self.path, content) + f"; it last gave a sign {silent:.0f} s ago")
        me = {"pid": os.getpid(), "host": _host(), "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
        os.ftruncate(self._file, 0)
        os.lseek(self._file, 0, os.SEEK_SET)
        os.write(self._file, json.dumps(me).encode())
        threading.Thread(target=self._beat, daemon=True, name="whywrong-lock").start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        with contextlib.suppress(OSError):
            self.path.unlink()
        os.close(self._file)

    def _is_current(self) -> bool:
        """Whether the locked file is still the one at the path: its last holder may have removed it meanwhile."""
        try:
            return os.path.samestat(os.fstat(self._file), os.stat(self.path))
        except FileNotFoundError:
            return False

    def _beat(self) -> None:
        while not self._over.wait(_BEAT):
            with contextlib.suppress(OSError):
                os.utime(self.path)


def _try_lock(descriptor: int) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        try:
            os.lseek(descriptor, 1 << 20, os.SEEK_SET)  # a byte behind the content, which stays readable
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError:
            return False
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _read(descriptor: int) -> dict[str, object]:
    os.lseek(descriptor, 0, os.SEEK_SET)
    try:
        content = json.loads(os.read(descriptor, 4096))
    except ValueError:  # empty, or torn by a power loss
        return {}
    return content if isinstance(content, dict) else {}


def _refusal(path: Path, content: dict[str, object]) -> str:
    who = f"process {content.get('pid', '?')} on {content.get('host', '?')}, since {content.get('started', '?')}"
    return f"{path.parent}: another run is writing here ({who}); wait for it, or use another folder"


def _host() -> str:
    return socket.gethostname()
