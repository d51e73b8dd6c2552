"""The run folder, with all results of one diagnosis, read without torch."""

from __future__ import annotations

import os
import threading
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whywrong.core.errors import InputError, RunFolderError
from whywrong.core.registry import analyses
from whywrong.runs.store.error_tables import error_facts, is_large
from whywrong.runs.store.layout import results_folder
from whywrong.runs.store.shards import read_facts, read_maps, read_table, shard_name
from whywrong.runs.store.stored_run import StoredRun

if TYPE_CHECKING:
    import duckdb
    import numpy as np
    import pyarrow as pa

    from whywrong.runs.queries.readonly import RunFiles


class RunFolder(StoredRun):
    """An existing run, finished or not.

    Args:
        path: The folder that ``whywrong diagnose --out`` wrote.

    Attributes:
        path: That folder.
        meta: Content of ``run.json``: model and data identity, seed, depth, methods, findings, versions.

    Raises:
        RunFolderError: There is no run, or its ``run.json`` is damaged.

    Example:
        >>> import torch, whywrong as ww
        >>> classifier = ww.load_classifier("planted:cnn")
        >>> images = torch.rand(12, 3, 64, 64), torch.arange(12)
        >>> run = ww.diagnose(classifier, images, "runs/a", methods=["cam"])
        >>> ww.RunFolder("runs/a").meta["seed"]
        0
    """

    def __init__(self, path: Path | str) -> None:
        super().__init__(path)
        self._lock = threading.Lock()
        self._cached: dict[bool, tuple[tuple[int, ...], duckdb.DuckDBPyConnection, RunFiles]] = {}
        self._places: dict[str, tuple[int, str]] = {}
        self._found_all = False

    def __repr__(self) -> str:
        return f"RunFolder({str(self.path)!r})"

    def connection(self) -> duckdb.DuckDBPyConnection:
        """Open a new in-memory connection with the views of this run.

        It can read the files of the run and nothing else.

        Raises:
            RunFolderError: A file of the run is missing or damaged.
        """
        from whywrong.runs.queries.views import connect

        return connect(self)

    def query(self, sql: str) -> pa.Table:
        """Run one SELECT over the views of the run.

        The views are ``items``, ``predictions``, ``errors``, ``failed_items``, ``classes`` and one per method.

        Raises:
            InputError: Not one SELECT that only reads the views, or invalid SQL.
            RunFolderError: A file of the run is missing or damaged.
        """
        from whywrong.runs.queries.query import only_stored, select
        from whywrong.runs.queries.views import open_views

        with self._lock:
            state = self._state()
            quick = is_large(self) and only_stored(sql) and error_facts(self) is not None
            kept = self._cached.get(quick)
            if kept is None or kept[0] != state:
                kept = self._cached[quick] = state, *open_views(self, stored_only=quick)
            _, connection, files = kept
            cursor = connection.cursor()
        with cursor:
            try:
                return select(cursor, sql)
            except InputError:
                if files.problem is not None:  # the SQL is valid: a file was damaged since the views were made
                    raise files.problem from None
                raise

    def _state(self) -> tuple[int, ...]:
        """Return a state that changes whenever a shard is committed, so that views are made again."""
        methods = [self.parts(name, controls=beside) for name in self.meta["methods"] for beside in (False, True)]
        results = [results_folder(self.path, analysis) for analysis in analyses().values()]
        folders = [self.items, self.predictions, *methods, *results]
        return tuple(folder.stat().st_mtime_ns if folder.exists() else 0 for folder in folders)

    def errors(self) -> pa.Table:
        """Return the items whose predicted class is not their label."""
        return self.query("select * from errors")

    def maps(self, method: str, item_id: str) -> dict[str, np.ndarray]:
        """Return the dense maps of one error by name, empty if there are none.

        Raises:
            RunFolderError: Their file is missing or damaged.
        """
        found = self._find([item_id]).get(item_id)
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
        """Return a thumbnail of the whole photograph of an error, None if missing.

        Returns:
            ``jpeg`` (JPEG bytes, or PNG if the photograph is smaller than 64 px), ``width`` and ``height`` in
            pixels, and ``x0 y0 x1 y1``: the part that the model sees, as shares of width and height.

        Raises:
            RunFolderError: Its file is missing or damaged.
        """
        found = self._find([item_id]).get(item_id)
        if found is None:
            return None
        if not self.meta["complete"] and not os.path.lexists(self.thumbs / shard_name(found[0])):
            return None
        rows = read_table(self.thumbs / shard_name(found[0]), item_id=found[1]).to_pylist()
        return rows[0] if rows else None

    def place(self, item_id: str) -> tuple[int, str]:
        """Return the shard of an error, and the item under which its evidence is stored.

        Raises:
            RunFolderError: It is not an error of this run.
        """
        try:
            return self._find([item_id])[item_id]
        except KeyError:
            raise RunFolderError(f"{self.path}: {item_id} is not among the errors of this run") from None

    def locate(self, items: Collection[str]) -> dict[int, set[str]]:
        """Return some errors by shard, without items that are no errors.

        Their maps and thumbnails are then found without another look at the errors of the run.
        """
        found: dict[int, set[str]] = {}
        for item, (shard, _) in self._find(items).items():
            found.setdefault(shard, set()).add(item)
        return found

    def _find(self, items: Collection[str]) -> dict[str, tuple[int, str]]:
        """Return shard and stored item of some errors; all errors of a small run are looked up at once."""
        from whywrong.runs.queries.errors import places

        missing = [item for item in items if item not in self._places]
        if missing and not self._found_all:
            self._found_all = not is_large(self)
            wanted = None if self._found_all else missing
            self._places |= {item: (shard, stored_as) for item, shard, stored_as in places(self, wanted)}
        return {item: self._places[item] for item in items if item in self._places}
