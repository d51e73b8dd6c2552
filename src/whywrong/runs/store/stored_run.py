"""The paths of the parts of a run in its folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from whywrong.core.errors import RunFolderError
from whywrong.runs.store.run_file import read_run_file
from whywrong.runs.store.shards import shard_indices


class StoredRun:
    """The folder of a run, finished or not, and the paths of its tables.

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

    @property
    def items(self) -> Path:
        """Folder of the listing."""
        return self.path / "items"

    @property
    def thumbs(self) -> Path:
        """Folder of the thumbnails."""
        return self.path / "thumbs"

    @property
    def predictions(self) -> Path:
        """Folder of the predictions."""
        return self.path / "parts" / "predictions" / self.meta["predictions"]["hash"]

    def parts(self, method: str, *, controls: bool = False) -> Path:
        """Return the folder of a method's tables, of errors or of controls.

        Raises:
            RunFolderError: The run has no such method.
        """
        name = f"{method}-controls" if controls else method
        return self.path / "parts" / name / self._method(method)["hash"]

    def map_files(self, method: str) -> Path:
        """Return the folder of a method's dense maps."""
        return self.path / "maps" / method / self._method(method)["hash"]

    def _method(self, name: str) -> Mapping[str, Any]:
        try:
            return self.meta["methods"][name]
        except KeyError:
            known = ", ".join(self.meta["methods"]) or "none"
            raise RunFolderError(f'{self.path}: this run has no method "{name}"; it has: {known}') from None

    @property
    def class_names(self) -> list[str]:
        """Return the class names in the order of the logits."""
        return self.meta["model"]["classes"] or []

    def shards(self) -> list[int]:
        """List the indices of the shards of the listing."""
        return shard_indices(self.items)
