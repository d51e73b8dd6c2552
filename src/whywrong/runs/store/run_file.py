"""``run.json``: identity, progress and notes of a run, checked before it is used."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from whywrong.core.errors import RunFolderError
from whywrong.runs.store.files import BLANK, MARK, commit, intact, open_plain
from whywrong.runs.store.layout import RUN_FILE
from whywrong.runs.store.run_schema import MAX_BYTES, check_meta
from whywrong.runs.store.schemas import SCHEMA_VERSION


def read_run_file(folder: Path) -> dict[str, Any]:
    """Read ``run.json``.

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
    """Read a JSON file; None if it is not JSON.

    Raises:
        RunFolderError: It cannot be read, is not a plain file, or is larger than any ``run.json``.
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
