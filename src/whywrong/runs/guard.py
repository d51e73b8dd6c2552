"""Check that a locked folder belongs to this run and that its files are not damaged."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from whywrong.core.errors import RunFolderError
from whywrong.data.files import path_bytes
from whywrong.data.sources.base import SourceSpec
from whywrong.runs.identity import differences, identity
from whywrong.runs.store.files import check_kind, intact, make_folder, preparing
from whywrong.runs.store.layout import RUN_FILE, survey, tidy
from whywrong.runs.store.run_file import read_run_file
from whywrong.runs.store.shards import SCHEMA_FILE, read_facts, run_of
from whywrong.runs.work.tasks import MethodSpec

_NAMES = ("utf-8", "surrogateescape")


def check_apart(folder: Path, data: SourceSpec) -> None:
    """Check that a run folder neither lies in the data it reads nor contains them.

    Args:
        folder: The run folder.
        data: Source of the images.

    Raises:
        RunFolderError: The folder is, lies in, or holds the data.
    """
    if not os.path.isabs(data.path):
        return  # a data set by name
    run, images = Path(os.path.realpath(folder)), Path(os.path.realpath(path_bytes(data.path)).decode(*_NAMES))
    if run == images:
        raise RunFolderError(f"{folder}: this is the folder of the data; name another folder for the run")
    if data.kind != "table" and images in run.parents:  # a table lists its images: other files beside it are not read
        raise RunFolderError(f"{folder}: the run folder lies in the data ({images}); name a folder outside of it")
    if run in images.parents:
        raise RunFolderError(f"{folder}: the data ({images}) lie in the run folder; name another folder for the run")


def open_or_create_run(
    folder: Path, now: dict[str, Any], steps: Sequence[MethodSpec]
) -> tuple[dict[str, Any], list[str]]:
    """Return the ``run.json`` to continue with.

    The stored one, or ``now`` for a new run.

    Returns:
        Its content, and notes about repairs.

    Raises:
        RunFolderError: The folder belongs to another run; the message lists the differences.
        EnvironmentFailure: The disk is full or fails.
    """
    with preparing(folder):
        return _open_or_create_run(folder, now, steps)


def _open_or_create_run(
    folder: Path, now: dict[str, Any], steps: Sequence[MethodSpec]
) -> tuple[dict[str, Any], list[str]]:
    found = survey(folder)
    tidy(folder, found)
    shards = found.shards
    if not (folder / RUN_FILE).exists() and not shards:
        return now, []
    try:
        stored = read_run_file(folder)
    except RunFolderError:
        if (folder / RUN_FILE).exists() and intact(folder / RUN_FILE):
            raise  # undamaged, but of another format
        return _restore(folder, now, shards)
    changed = differences(stored, now, steps)
    if changed:
        raise RunFolderError(
            f"{folder}: this folder holds another run: {'; '.join(changed)}; use another folder, or the same settings"
        )
    return stored, quarantine_invalid(folder, shards, identity(stored))


def _restore(folder: Path, now: dict[str, Any], shards: Sequence[Path]) -> tuple[dict[str, Any], list[str]]:
    """Restore a lost ``run.json``; the shards tell whether they belong to this run."""
    foreign = [path for path in shards if intact(path) and run_of(path) != identity(now)]
    if foreign:
        raise RunFolderError(
            f"{folder}: {RUN_FILE} is missing or damaged, and {_relative(folder, foreign[0])} belongs to another run; "
            "use another folder"
        )
    notes = [f"{RUN_FILE} was missing or damaged and was written again"]
    if (folder / RUN_FILE).exists():
        quarantine(folder, folder / RUN_FILE)
    return now, notes + quarantine_invalid(folder, shards, identity(now))


def quarantine_invalid(folder: Path, shards: Sequence[Path], run: str) -> list[str]:
    """Quarantine files that are damaged, incomplete or foreign.

    They are then missing, and computed again.
    """
    notes = []
    for path in shards:
        if not path.exists():
            continue  # moved with its table
        problem = None
        if not intact(path):
            problem = "is damaged"
        elif run_of(path) != run:
            problem = "belongs to another run"
        elif (maps := _maps_of(folder, path)) is not None and not (intact(maps) and run_of(maps) == run):
            problem = "lacks its maps, which are damaged or gone"
        if problem is not None:
            quarantine(folder, path)
            notes.append(f"{_relative(folder, path)} {problem}: it was put into quarantine and is done again")
    return notes


def _maps_of(folder: Path, table: Path) -> Path | None:
    """Return the file of maps that a method's table needs."""
    parts = table.relative_to(folder).parts
    if (
        parts[0] != "parts"
        or table.suffix != ".parquet"
        or table.name == SCHEMA_FILE
        or not read_facts(table).get("maps")
    ):
        return None
    return folder.joinpath("maps", *parts[1:]).with_suffix(".safetensors")


def quarantine(folder: Path, path: Path) -> None:
    """Move a damaged file of a run into its folder ``quarantine``.

    Raises:
        RunFolderError: A link is in the way.
    """
    place = folder / "quarantine"
    for part in ("", *path.relative_to(folder).parts[:-1]):
        place = place / part
        if os.path.lexists(place):
            check_kind(place, os.lstat(place).st_mode, folder=True)
    make_folder(place)
    for number in range(1, 10_000):
        target = place / f"{path.name}.{number}"
        if not os.path.lexists(target):
            with contextlib.suppress(FileNotFoundError):
                os.replace(path, target)
            return


def _relative(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()
