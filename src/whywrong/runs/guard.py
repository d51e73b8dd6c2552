"""Before any work: can the folder be written, does it belong to this run, is what it holds intact?"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from whywrong.core.errors import RunFolderError
from whywrong.runs.files import intact, make_folder, tidy
from whywrong.runs.folder import RUN_FILE, read_run_file
from whywrong.runs.identity import differences, identity
from whywrong.runs.job import Step
from whywrong.runs.shards import SCHEMA_FILE, read_facts, run_of

_OURS = ("items", "parts", "maps", "thumbs")


def open_for_writing(folder: Path) -> None:
    """Make the folder, or make sure that it can be written.

    Raises:
        RunFolderError: A file is in the way, or the folder is read-only.
    """
    probe = folder / f".probe.{os.getpid()}.tmp"
    try:
        make_folder(folder)
        probe.write_bytes(b"")
        probe.unlink()
    except (FileExistsError, NotADirectoryError):
        raise RunFolderError(f"{folder}: a file is in the way; name a folder for the run") from None
    except OSError as error:
        raise RunFolderError(f"{folder}: the run folder cannot be written ({error.strerror or error})") from error


def adopt(folder: Path, now: dict[str, Any], steps: Sequence[Step]) -> tuple[dict[str, Any], list[str]]:
    """The ``run.json`` to go on with: the stored one, or ``now`` for a new run.

    Returns:
        Its content, and lines about what had to be repaired.

    Raises:
        RunFolderError: The folder belongs to another run; lists what differs.
    """
    tidy(folder)
    shards = list(_shards(folder))
    if not (folder / RUN_FILE).exists() and not shards:
        return now, []
    try:
        stored = read_run_file(folder)
    except RunFolderError:
        if (folder / RUN_FILE).exists() and intact(folder / RUN_FILE):
            raise  # whole, and of another format
        return _restore(folder, now, shards)
    found = differences(stored, now, steps)
    if found:
        raise RunFolderError(
            f"{folder}: this folder holds another run: {'; '.join(found)}; use another folder, or the same settings"
        )
    return stored, _sweep(folder, shards, identity(stored))


def _restore(folder: Path, now: dict[str, Any], shards: Sequence[Path]) -> tuple[dict[str, Any], list[str]]:
    """``run.json`` is lost, and the shards say whether they are of this run."""
    foreign = [path for path in shards if intact(path) and run_of(path) != identity(now)]
    if foreign:
        raise RunFolderError(
            f"{folder}: {RUN_FILE} is missing or damaged, and {_relative(folder, foreign[0])} belongs to another run; "
            "use another folder"
        )
    notes = [f"{RUN_FILE} was missing or damaged and was written again"]
    if (folder / RUN_FILE).exists():
        _quarantine(folder, folder / RUN_FILE)
    return now, notes + _sweep(folder, shards, identity(now))


def _sweep(folder: Path, shards: Sequence[Path], run: str) -> list[str]:
    """Move aside what is damaged, incomplete or foreign; it is then missing, and so is done again."""
    notes = []
    for path in shards:
        if not path.exists():
            continue  # gone with its table
        problem = None
        if not intact(path):
            problem = "is damaged"
        elif run_of(path) != run:
            problem = "belongs to another run"
        elif (maps := _maps_of(folder, path)) is not None and not (intact(maps) and run_of(maps) == run):
            problem = "lacks its maps, which are damaged or gone"
        if problem is not None:
            _quarantine(folder, path)
            notes.append(f"{_relative(folder, path)} {problem}: it was put into quarantine and is done again")
    return notes


def _shards(folder: Path) -> Iterator[Path]:
    for name in _OURS:
        for path in sorted((folder / name).rglob("*")):
            if path.suffix in (".parquet", ".safetensors") and not path.name.startswith("."):
                yield path


def _maps_of(folder: Path, table: Path) -> Path | None:
    """The file of maps that a method's table needs."""
    parts = table.relative_to(folder).parts
    if (
        parts[0] != "parts"
        or table.suffix != ".parquet"
        or table.name == SCHEMA_FILE
        or not read_facts(table).get("maps")
    ):
        return None
    return folder.joinpath("maps", *parts[1:]).with_suffix(".safetensors")


def _quarantine(folder: Path, path: Path) -> None:
    target = folder / "quarantine" / path.relative_to(folder)
    make_folder(target.parent)
    for number in range(1, 10_000):
        place = target.with_name(f"{target.name}.{number}")
        if not place.exists():
            with contextlib.suppress(FileNotFoundError):
                os.replace(path, place)
            return


def _relative(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()
