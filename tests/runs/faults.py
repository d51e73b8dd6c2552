"""A disk that fails at any one call that changes it: open, write, close, sync, rename, link, remove, mkdir."""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest

from whywrong.runs import listing
from whywrong.runs.store import files

PASSED_OVER = {"close", "unlink"}
"""Calls whose error need not end a command: all that counts is on disk by then, or swept by the next command."""


class Disk:
    """Counts the calls that write in one folder, and lets the ``at``-th fail.

    A write that fails has written half: a disk fills up, and does not take nothing of what it is given.

    Attributes:
        root: The folder.
        at: Number of the call that fails, from 1; none while 0.
        lasting: Whether all later calls fail, too.
        number: The error.
        short: Nothing fails; every write takes only a part.
        names: The calls so far, in order.
        failed: Names of the calls that failed.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
        self.root, self.at, self.lasting, self.number, self.short = os.path.abspath(root), 0, False, errno.ENOSPC, False
        self.names: list[str] = []
        self.failed: list[str] = []
        for name in ("fsync", "replace", "mkdir", "link", "unlink", "open", "ftruncate"):
            monkeypatch.setattr(os, name, self._before(name, getattr(os, name)))
        monkeypatch.setattr(os, "write", self._writing(os.write))
        monkeypatch.setattr(os, "close", self._closing(os.close))
        monkeypatch.setattr(files, "open", self.open, raising=False)
        monkeypatch.setattr(listing, "pq", SimpleNamespace(ParquetWriter=self._parquet_writer()))

    def begin(self, at: int, root: Path, number: int = errno.ENOSPC, lasting: bool = False) -> None:
        """Count from the start; the ``at``-th call in ``root`` fails."""
        self.at, self.root, self.number, self.lasting = at, os.path.abspath(root), number, lasting
        self.names, self.failed = [], []

    def open(self, path: Any, mode: str = "r", **named: Any) -> Any:
        """As the built-in, for writing."""
        raw = open(path, mode, buffering=0, **named)  # noqa: SIM115 - closed by its wrapper
        return io.BufferedWriter(_File(self, raw))

    def check(self, name: str) -> None:
        """Count a call.

        Raises:
            OSError: Its turn to fail has come.
        """
        self.names.append(name)
        count = len(self.names)
        if self.at and (count == self.at or (self.lasting and count > self.at)):
            self.failed.append(name)
            raise OSError(self.number, os.strerror(self.number))

    def write(self, name: str, call: Callable[[Any], int], data: Any) -> int:
        """Write, or write half and fail."""
        data = memoryview(data)
        half = data[: (len(data) + 1) // 2]
        try:
            self.check(name)
        except OSError:
            call(half)
            raise
        return call(half if self.short else data)

    def _is_here(self, target: Any) -> bool:
        if isinstance(target, int):
            try:
                target = os.readlink(f"/proc/self/fd/{target}")
            except OSError:
                return False
        return f"{os.fspath(target)}/".startswith(f"{self.root}/")

    def _before(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(target: Any, *rest: Any, **named: Any) -> Any:
            reading = name == "open" and not rest[0] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
            if not reading and self._is_here(target):
                self.check(name)
            return call(target, *rest, **named)

        return wrapped

    def _writing(self, call: Callable[..., int]) -> Callable[..., int]:
        def wrapped(descriptor: int, data: Any) -> int:
            if not self._is_here(descriptor):
                return call(descriptor, data)
            return self.write("write", lambda piece: call(descriptor, piece), data)

        return wrapped

    def _closing(self, call: Callable[[int], None]) -> Callable[[int], None]:
        def wrapped(descriptor: int) -> None:
            here = self._is_here(descriptor)
            call(descriptor)  # it is closed, whatever the error
            if here:
                self.check("close")

        return wrapped

    def _parquet_writer(self) -> type[pq.ParquetWriter]:
        disk = self

        class Writer(pq.ParquetWriter):
            """Writes through a file of the disk instead of one of its own."""

            def __init__(self, where: Path, schema: Any) -> None:
                self.sink = disk.open(where, "wb", opener=os.open)
                super().__init__(self.sink, schema)

            def close(self) -> None:
                try:
                    super().close()
                finally:
                    self.sink.close()

        return Writer


class _File(io.RawIOBase):
    """A file of the disk."""

    def __init__(self, disk: Disk, raw: Any) -> None:
        self.disk, self.raw = disk, raw

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.raw.fileno()

    def write(self, data: Any) -> int:
        return self.disk.write("write file", self.raw.write, data)

    def close(self) -> None:
        if self.closed:
            return
        self.raw.close()
        super().close()
        self.disk.check("close file")
