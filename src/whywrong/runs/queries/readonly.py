"""The files of a run as DuckDB sees them: read-only, checked against their seals, and nothing else of the machine."""

from __future__ import annotations

import datetime
import io
import os
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from fsspec import AbstractFileSystem

from whywrong.core.errors import RunFolderError
from whywrong.runs.store.files import read_whole

PROTOCOL = "run"


class RunFiles(AbstractFileSystem):
    """``run://items/00000.parquet`` and its like, for one connection.

    Whatever DuckDB opens is read whole, and only if it equals what was committed; every way to write ends in an error.

    Args:
        folder: The run folder.
    """

    protocol = PROTOCOL
    cachable = False

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self.problem: RunFolderError | None = None
        """The last file that could not be used: DuckDB passes on no more than its text."""

    def address(self, path: Path) -> str:
        """Describe a file of the folder to DuckDB."""
        return f"{PROTOCOL}://{path.relative_to(self._folder).as_posix()}"

    def _path(self, address: str) -> Path:
        parts = PurePosixPath(str(self._strip_protocol(address)).lstrip("/")).parts
        if ".." in parts:
            raise PermissionError(f"{address}: outside the run folder")
        return self._folder.joinpath(*parts)

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Name, size and kind of a file."""
        facts = os.lstat(self._path(path))
        return {"name": path, "size": facts.st_size, "type": "file"}

    def exists(self, path: str, **_: Any) -> bool:
        """Whether the file is there."""
        return os.path.lexists(self._path(path))

    def glob(self, path: str, maxdepth: int | None = None, **_: Any) -> list[str]:
        """The path itself: files are always named one by one."""
        return [path]

    def modified(self, path: str) -> datetime.datetime:
        """When the file was changed, to tell one state of it from another."""
        return datetime.datetime.fromtimestamp(os.lstat(self._path(path)).st_mtime, datetime.UTC)

    def _open(self, path: str, mode: str = "rb", *_: Any, **__: Any) -> Any:
        if mode != "rb":
            self._refuse(path)
        try:
            return io.BytesIO(read_whole(self._path(path)))
        except RunFolderError as error:
            self.problem = error
            raise

    def _refuse(self, *names: object, **_: object) -> NoReturn:
        raise PermissionError(f"{names[0] if names else self._folder}: a run is only read")

    _rm = rm = rm_file = rmdir = mkdir = makedirs = mv = copy = cp_file = touch = pipe_file = put_file = _refuse
