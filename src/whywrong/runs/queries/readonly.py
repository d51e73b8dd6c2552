"""The files of a run for DuckDB: read-only, with verified checksums, and no other file of the machine."""

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
    """A file system of ``run://items/00000.parquet`` and the like, for one connection.

    Files are read whole, and only if they equal what was committed; every attempt to write raises an error.

    Args:
        folder: The run folder.
    """

    protocol = PROTOCOL
    cachable = False

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._folder = folder
        self.problem: RunFolderError | None = None
        """The last file that could not be read: DuckDB passes on only the text of the error."""

    def address(self, path: Path) -> str:
        """Return the address of a file of the folder for DuckDB."""
        return f"{PROTOCOL}://{path.relative_to(self._folder).as_posix()}"

    def _path(self, address: str) -> Path:
        parts = PurePosixPath(str(self._strip_protocol(address)).lstrip("/")).parts
        if ".." in parts:
            raise PermissionError(f"{address}: outside the run folder")
        return self._folder.joinpath(*parts)

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """Return name, size and kind of a file."""
        facts = os.lstat(self._path(path))
        return {"name": path, "size": facts.st_size, "type": "file"}

    def exists(self, path: str, **_: Any) -> bool:
        """Check if the file exists."""
        return os.path.lexists(self._path(path))

    def glob(self, path: str, maxdepth: int | None = None, **_: Any) -> list[str]:
        """Return the path itself, as files are always named one by one."""
        return [path]

    def modified(self, path: str) -> datetime.datetime:
        """Return when the file was changed, to tell its states apart."""
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
