"""Results of an analysis in a run folder: tables, a record, and files that users may edit."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from whywrong.core.errors import RunFolderError
from whywrong.core.registry import Analysis
from whywrong.runs.store.files import BLANK, MARK, commit, open_plain, preparing, read_whole
from whywrong.runs.store.layout import results_folder
from whywrong.runs.store.shards import read_facts, read_table, write_table


def result_path(folder: Path, analysis: Analysis, table: str = "") -> Path:
    """Return the path of a table of an analysis, by default the one of its name."""
    return results_folder(folder, analysis) / f"{table or analysis.name}.parquet"


def write_results(
    folder: Path,
    analysis: Analysis,
    tables: Mapping[str, pa.Table],
    record: Mapping[str, Any],
    *,
    basis: str,
    files: Mapping[str, bytes] | None = None,
) -> None:
    """Write the results of an analysis, each file atomically.

    Tables of an earlier analysis that are not written again are removed.

    Args:
        folder: The run folder, locked by this process.
        analysis: Its registry entry.
        tables: By name; an empty name means that of the analysis.
        record: Plain values.
        basis: Identifies what the numbers of the tables refer to.
        files: Content of files that users may edit.

    Raises:
        EnvironmentFailure: The disk is full or fails.
    """
    place, files = results_folder(folder, analysis), files or {}
    facts = {"run": basis, "result_version": analysis.result_version}
    digests = {
        name: digest_of(files[name]) if name in files else kept_digest(folder, analysis, name)
        for name in analysis.files
    }
    # The digests are written before the files, so that these are recognised even if the run ends in between.
    announced = {_key(name): digest for name, digest in digests.items()}
    for name in analysis.tables or ("",):
        if name in tables:
            write_table(result_path(folder, analysis, name), tables[name], facts | announced)
            announced = {}
        else:
            with preparing(place):
                result_path(folder, analysis, name).unlink(missing_ok=True)
    for name, content in files.items():
        commit(place / name, content)
    record = {**record, **{_key(name): digest for name, digest in digests.items()}}
    record["seal"] = (MARK + BLANK).decode()
    commit(place / analysis.record, (json.dumps(finite(record), indent=1) + "\n").encode())


def read_record(folder: Path, analysis: Analysis, remedy: str) -> dict[str, Any]:
    """Read the record of an analysis.

    Args:
        folder: The run folder.
        analysis: Its registry entry.
        remedy: The command that makes one, for the message if there is none.

    Raises:
        RunFolderError: It is missing or damaged.
    """
    path = results_folder(folder, analysis) / analysis.record
    if not os.path.lexists(path):
        raise RunFolderError(f"{folder}: no {analysis.name} analysis here; {remedy} makes one")
    try:
        return json.loads(read_whole(path))
    except (ValueError, RecursionError) as error:
        raise RunFolderError(f"{path}: damaged ({error}); run the same command again") from None


def read_rows(folder: Path, analysis: Analysis, table: str = "") -> list[dict[str, Any]]:
    """Read the rows of a table of an analysis.

    Raises:
        RunFolderError: It is missing or damaged.
    """
    return read_table(result_path(folder, analysis, table)).to_pylist()


def check_editable(folder: Path, analysis: Analysis, name: str, given: Path | None) -> None:
    """Check that a file was not made or changed by a user, before it is overwritten.

    Args:
        folder: The run folder.
        analysis: Its registry entry.
        name: Name of the file.
        given: The input file; if it is this very file, it is left unchanged.

    Raises:
        RunFolderError: Names the file.
    """
    path = results_folder(folder, analysis) / name
    if given is None or not os.path.lexists(path) or os.path.samefile(path, given):
        return
    if kept_digest(folder, analysis, name) is None:
        raise RunFolderError(f"{path}: somebody changed this file, and it is kept; move it away to write a new one")


def is_given(folder: Path, analysis: Analysis, name: str, given: Path | None) -> bool:
    """Check if a file beside the tables is the very file that was given as input."""
    path = results_folder(folder, analysis) / name
    return given is not None and os.path.lexists(path) and os.path.samefile(given, path)


def kept_digest(folder: Path, analysis: Analysis, name: str) -> str | None:
    """Return the digest of a file that is as whywrong wrote it, otherwise None."""
    place = results_folder(folder, analysis)
    if not os.path.lexists(place / name):
        return None
    with open_plain(place / name) as file:
        content = file.read()
    stored, announced = {}, {}
    with contextlib.suppress(RunFolderError, ValueError):
        stored = json.loads(read_whole(place / analysis.record))
    with contextlib.suppress(RunFolderError):
        announced = read_facts(result_path(folder, analysis, next(iter(analysis.tables), "")))
    # Version 0.1 wrote no digest; its own file starts with the columns that it writes.
    former = content.startswith(f"{analysis.files[name]}\n".encode()) and stored and _key(name) not in stored
    digest = digest_of(content)
    return digest if former or digest in (stored.get(_key(name)), announced.get(_key(name))) else None


def digest_of(content: bytes) -> str:
    """Return the digest of a file's content."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def finite(value: Any) -> Any:
    """Replace numbers that are not finite by null."""
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _key(name: str) -> str:
    return f"{Path(name).stem}_file"
