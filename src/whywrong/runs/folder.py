"""The run folder: everything that one diagnosis produced, read without torch."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whywrong.core.errors import InputError, RunFolderError
from whywrong.runs.files import BLANK, MARK, commit, intact, open_plain
from whywrong.runs.layout import RUN_FILE
from whywrong.runs.run_schema import MAX_BYTES, check_meta
from whywrong.runs.schemas import SCHEMA_VERSION
from whywrong.runs.shards import read_facts, read_maps, read_table, shard_indices, shard_name

if TYPE_CHECKING:
    import duckdb
    import numpy as np
    import pyarrow as pa

    from whywrong.runs.readonly import RunFiles


class RunFolder:
    """An existing run, finished or not.

    Args:
        path: The folder that ``whywrong diagnose --out`` wrote.

    Attributes:
        path: That folder.
        meta: Content of ``run.json``: model and data identity, seed, depth, methods, findings, versions.

    Raises:
        RunFolderError: There is no run, or its ``run.json`` is damaged.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)
        self.meta = read_run_file(self.path)
        self._lock = threading.Lock()
        self._cached: tuple[tuple[int, ...], duckdb.DuckDBPyConnection, RunFiles] | None = None

    # Where things are.

    @property
    def items(self) -> Path:
        """Folder of the listing."""
        return self.path / "items"

    @property
    def thumbs(self) -> Path:
        """Folder of the thumbs."""
        return self.path / "thumbs"

    @property
    def predictions(self) -> Path:
        """Folder of the predictions."""
        return self.path / "parts" / "predictions" / self.meta["predictions"]["hash"]

    def parts(self, method: str, *, controls: bool = False) -> Path:
        """Folder of a method's tables: of errors, or of the images read right that they are compared with.

        Raises:
            RunFolderError: The run has no such method.
        """
        name = f"{method}-controls" if controls else method
        return self.path / "parts" / name / self._method(method)["hash"]

    def map_files(self, method: str) -> Path:
        """Folder of a method's dense maps."""
        return self.path / "maps" / method / self._method(method)["hash"]

    def _method(self, name: str) -> Mapping[str, Any]:
        try:
            return self.meta["methods"][name]
        except KeyError:
            known = ", ".join(self.meta["methods"]) or "none"
            raise RunFolderError(f'{self.path}: this run has no method "{name}"; it has: {known}') from None

    # Reading.

    @property
    def class_names(self) -> list[str]:
        """Names in the order of the logits."""
        return self.meta["model"]["classes"] or []

    def connection(self) -> duckdb.DuckDBPyConnection:
        """A new in-memory connection with the views of this run; it can read the files of the run and nothing else.

        Raises:
            RunFolderError: A file of the run is missing or damaged.
        """
        from whywrong.runs.views import connect

        return connect(self)

    def query(self, sql: str) -> pa.Table:
        """The answer of one SELECT over the views ``items``, ``predictions``, ``errors``, ``failed_items``,
        ``classes`` and one per method.

        Raises:
            InputError: Not one SELECT that only reads the views, or SQL that DuckDB refuses.
            RunFolderError: A file of the run is missing or damaged.
        """
        from whywrong.runs.query import select
        from whywrong.runs.views import open_views

        with self._lock:
            state = self._state()
            if self._cached is None or self._cached[0] != state:
                self._cached = state, *open_views(self)
            _, connection, files = self._cached
            cursor = connection.cursor()
        with cursor:
            try:
                return select(cursor, sql)
            except InputError:
                if files.problem is not None:  # the SQL is right: a file was damaged since the views were made
                    raise files.problem from None
                raise

    def _state(self) -> tuple[int, ...]:
        """Changes whenever a shard is committed: views over other files are then due."""
        methods = [self.parts(name, controls=beside) for name in self.meta["methods"] for beside in (False, True)]
        folders = [self.items, self.predictions, *methods, self.path / "spurious"]
        return tuple(folder.stat().st_mtime_ns if folder.exists() else 0 for folder in folders)

    def errors(self) -> pa.Table:
        """Items whose predicted class is not their label."""
        return self.query("select * from errors")

    def maps(self, method: str, item_id: str) -> dict[str, np.ndarray]:
        """Dense maps of one error by name; empty where there are none.

        Raises:
            RunFolderError: Their file is missing or damaged.
        """
        found = self._place.get(item_id)
        if found is None:
            return {}
        shard, stored_as = found
        path = self.map_files(method) / shard_name(shard, ".safetensors")
        table = self.parts(method) / shard_name(shard)
        if os.path.lexists(table) and not os.path.lexists(path) and read_facts(table).get("maps"):
            raise RunFolderError(f"{path}: the maps are missing; run the same diagnose again, which redoes them")
        maps = read_maps(path, [stored_as])
        return {name.split("/", 1)[1]: array for name, array in maps.items()}

    def thumb(self, item_id: str) -> dict[str, Any] | None:
        """A small copy of the whole photograph of an error; None where there is none.

        Returns:
            ``jpeg`` (JPEG bytes, or PNG where the photograph is smaller than 64 px), ``width`` and ``height`` in
            pixels, and ``x0 y0 x1 y1``: what the model sees of it, as shares of width and height.

        Raises:
            RunFolderError: Its file is missing or damaged.
        """
        found = self._place.get(item_id)
        if found is None:
            return None
        if not self.meta["complete"] and not os.path.lexists(self.thumbs / shard_name(found[0])):
            return None
        rows = read_table(self.thumbs / shard_name(found[0]), item_id=found[1]).to_pylist()
        return rows[0] if rows else None

    def place(self, item_id: str) -> tuple[int, str]:
        """Shard of an error, and the item under which its evidence is stored.

        Raises:
            RunFolderError: It is no error of this run.
        """
        try:
            return self._place[item_id]
        except KeyError:
            raise RunFolderError(f"{self.path}: {item_id} is not among the errors of this run") from None

    @cached_property
    def _place(self) -> dict[str, tuple[int, str]]:
        """Of every error: its shard, and the item under which it is stored."""
        from whywrong.runs.views import places

        return {item: (shard, stored_as) for item, shard, stored_as in places(self)}

    def shards(self) -> list[int]:
        """Indices of the shards of the listing."""
        return shard_indices(self.items)


def read_run_file(folder: Path) -> dict[str, Any]:
    """Content of ``run.json``.

    Raises:
        RunFolderError: Missing, unreadable, damaged, or written by a newer version.
    """
    path = folder / RUN_FILE
    if not os.path.lexists(path):
        raise RunFolderError(f"{folder}: no run here ({RUN_FILE} is missing); `whywrong diagnose --out` makes one")
    meta = _json(path)
    if not isinstance(meta, dict) or not intact(path):
        raise RunFolderError(f"{path}: the file is damaged; run the same diagnose again, which restores it")
    if meta.get("schema", SCHEMA_VERSION) != SCHEMA_VERSION:
        raise RunFolderError(
            f"{folder}: written with run format {meta['schema']}, this version reads {SCHEMA_VERSION}; "
            "use another folder"
        )
    check_meta(meta, path)
    return meta


def _json(path: Path) -> Any:
    """Content of a JSON file; None where it is no JSON.

    Raises:
        RunFolderError: It cannot be read, is no plain file, or is larger than any ``run.json``.
    """
    try:
        with open_plain(path) as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise RunFolderError(f"{path}: cannot be read ({error.strerror or error})") from error
    if len(content) > MAX_BYTES:
        raise RunFolderError(f"{path}: larger than {MAX_BYTES:,} bytes, which no run writes; use another folder")
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def write_run_file(folder: Path, meta: Mapping[str, Any]) -> None:
    """Commit ``run.json``."""
    content = {name: value for name, value in meta.items() if name != "seal"}
    content["seal"] = (MARK + BLANK).decode()
    commit(folder / RUN_FILE, (json.dumps(content, indent=1, ensure_ascii=True) + "\n").encode())
