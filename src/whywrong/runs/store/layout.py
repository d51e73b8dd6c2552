"""Layout of a run folder, and the check that a folder may be written.

Only names that a run writes, in the places where it writes them, are ever read, moved or removed; all other files in
the folder belong to the user.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from whywrong.core.errors import RunFolderError
from whywrong.core.registry import Analysis, analyses
from whywrong.runs.store.files import check_kind, intact, open_plain
from whywrong.runs.store.temporaries import remove, sweep, target_of, temporary_for

RUN_FILE, LOCK, PROGRESS = "run.json", "lock", "progress.json"
METHOD = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,99}")
HASH = re.compile(r"[0-9a-f]{12}")

_TABLE, _MAPS = re.compile(r"[0-9]{5,9}\.parquet"), re.compile(r"[0-9]{5,9}\.safetensors")
_PART = re.compile(r"([0-9]{5,9}|schema)\.parquet")
RESULTS, UNITS = "results", "analyses"  # folders of the results of analyses, and of their units
_FOLDERS: dict[str, tuple[re.Pattern[str], ...]] = {
    "items": (_TABLE,),
    "thumbs": (_TABLE,),
    "parts": (METHOD, HASH, _PART),
    "maps": (METHOD, HASH, _MAPS),
    UNITS: (METHOD, METHOD, HASH, _MAPS),
}
RUN_FOLDERS = ("items", "thumbs", "parts", "maps")  # folders of the run itself
_FORMER = re.compile(r"\.(?P<name>.+)\.(?P<pid>\d{1,10})\.tmp", re.DOTALL)  # temporary names of version 0.1
_FORMER_SCRATCH = re.compile(r"\.listing\.[a-z0-9_]{8}")
_SCRATCH = ".listing"
_IN_SCRATCH = {"listed", "digests", "spill"}
_LOCK_KEYS = {"pid", "host", "started"}
_LOCK_START = b'{"pid": '
LOCK_BYTES = 4096
_GENERATOR = b'<meta name="generator" content="whywrong '


@dataclass(frozen=True, slots=True)
class Survey:
    """The files of a run in a folder.

    Attributes:
        folder: The folder.
        files: Files at places and under names of a run, sorted; none is a link or behind one.
        places: Folders in which a run writes, with the names that it writes there.
    """

    folder: Path
    files: list[Path] = field(default_factory=list)
    places: list[tuple[Path, re.Pattern[str]]] = field(default_factory=list)

    @property
    def shards(self) -> list[Path]:
        """Return the tables and maps of the run itself, which carry checksums."""
        return [path for path in self.files if path.relative_to(self.folder).parts[0] in RUN_FOLDERS]


def survey(folder: Path) -> Survey:
    """List the files of a run in a folder, without changing anything.

    Raises:
        RunFolderError: A link, pipe, socket or device is in the place of a file or folder of a run.
    """
    found = Survey(folder)
    try:
        _look(folder, (_top(),), found)
        for name, patterns in {**_FOLDERS, **_result_folders(), "quarantine": ()}.items():
            place = folder
            for part in name.split("/"):
                place /= part
                if not os.path.lexists(place):
                    break
                check_kind(place, os.lstat(place).st_mode, folder=True)
            else:
                _look(place, patterns, found)
    except OSError as error:
        raise RunFolderError(
            f"{folder}: the run folder cannot be written or read ({error.strerror or error})"
        ) from error
    return found


def results_folder(folder: Path, analysis: Analysis) -> Path:
    """Return the folder of the tables of an analysis in a run folder."""
    return folder / (analysis.folder or f"{RESULTS}/{analysis.name}")


def _result_folders() -> dict[str, tuple[re.Pattern[str], ...]]:
    """Return the folders of the results of all analyses, with the names of their files."""
    found = {}
    for analysis in analyses().values():
        names = [*(f"{table}.parquet" for table in analysis.tables or (analysis.name,)), analysis.record]
        pattern = re.compile("|".join(map(re.escape, (*names, *analysis.files))))
        found[results_folder(Path(), analysis).as_posix()] = (pattern,)
    return found


def _pages() -> list[str]:
    return ["report.html", *(f"{name}.html" for name in analyses())]


def _top() -> re.Pattern[str]:
    """Return the names of the files in the run folder itself."""
    return re.compile("|".join(map(re.escape, (RUN_FILE, LOCK, PROGRESS, *_pages(), "image.csv"))))


def _look(folder: Path, patterns: tuple[re.Pattern[str], ...], found: Survey) -> None:
    if not patterns:
        return
    wanted, deeper = patterns[0], patterns[1:]
    if not deeper:
        found.places.append((folder, wanted))
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries)
    for name in names:
        if wanted.fullmatch(name):
            path = folder / name
            check_kind(path, os.lstat(path).st_mode, folder=bool(deeper))
            if deeper:
                _look(path, deeper, found)
            else:
                found.files.append(path)


def check_folder(folder: Path, known: Mapping[str, bytes] | None = None) -> None:
    """Check that a folder is new, empty, or certainly holds a run.

    Nothing is changed, not even a time. A run is recognised by a file with its own checksum, under a name and in a
    place of a run. A lock or abandoned temporary files of whywrong are ignored, as a run was killed before it wrote
    anything else.

    Args:
        folder: The folder to write into.
        known: Files, by name, that are ignored if their content is exactly this.

    Raises:
        RunFolderError: It is a file, or holds something else, or a link inside of it leads out.
    """
    real = os.path.realpath(folder)
    try:
        os.fsencode(real).decode("utf-8")
    except UnicodeDecodeError:
        raise RunFolderError(
            f"{folder}: the name of a run folder, and of those above it, must be UTF-8; name another folder"
        ) from None
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        if os.path.islink(folder):
            raise RunFolderError(f"{folder}: a link that leads nowhere; name a folder for the run") from None
        return
    except NotADirectoryError:
        raise RunFolderError(f"{folder}: a file is in the way; name a folder for the run") from None
    except OSError as error:
        raise RunFolderError(
            f"{folder}: the run folder cannot be written or read ({error.strerror or error})"
        ) from error
    files = survey(folder).files
    if LOCK in names and parse_lock(_lock_bytes(folder)) is None:
        raise RunFolderError(f"{folder / LOCK}: not a lock of a run; move it away, or name another folder for the run")
    rest = [name for name in names if not _counts_as_nothing(folder, name, known or {})]
    if rest and not any(intact(path) for path in files):
        raise RunFolderError(
            f'{folder}: the folder is not empty and holds no run (it has "{sorted(rest)[0]}"); name a new or an empty '
            "folder for the run"
        )


def parse_lock(content: bytes) -> dict[str, Any] | None:
    """Read who holds a lock from the content of its file.

    Returns an empty mapping if a power loss cut the file short, and None if it is not a lock of a run.
    """
    if not content.strip(b"\0"):
        return {}
    try:
        found = json.loads(content)
    except (ValueError, RecursionError):
        return {} if content.startswith(_LOCK_START) else None
    return found if isinstance(found, dict) and found.keys() == _LOCK_KEYS else None


def _lock_bytes(folder: Path) -> bytes:
    with open_plain(folder / LOCK) as file:
        return file.read(LOCK_BYTES)


def _counts_as_nothing(folder: Path, name: str, known: Mapping[str, bytes]) -> bool:
    if name == LOCK:
        return bool(_lock_bytes(folder).strip(b"\0"))  # an empty file of that name may be anybody's
    if name in known:
        with open_plain(folder / name) as file:
            return file.read(len(known[name]) + 1) == known[name]
    return (target := target_of(name)) is not None and (target == _SCRATCH or _top().fullmatch(target) is not None)


def tidy(folder: Path, found: Survey) -> None:
    """Remove what killed writers left in a folder that is empty or holds a run.

    Args:
        folder: The run folder, locked by this process.
        found: Its survey.
    """
    for place, names in found.places:
        sweep(place, _matches(names))
        for path in _hidden(place):
            former = _FORMER.fullmatch(path.name)
            if former is not None and names.fullmatch(former["name"]):
                remove(path, int(former["pid"]))
    former_page = re.compile(rf"\.({'|'.join(map(re.escape, _pages()))})\.[a-z0-9_]{{8}}")
    for path in _hidden(folder):
        if former_page.fullmatch(path.name) and is_page(path):
            path.unlink(missing_ok=True)
        elif target_of(path.name) == _SCRATCH or _FORMER_SCRATCH.fullmatch(path.name):
            _remove_scratch(path)


@contextmanager
def scratch_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder for a listing in progress inside a run folder."""
    path = temporary_for(folder / _SCRATCH)
    path.mkdir()
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def is_page(path: Path) -> bool:
    """Check if a file is empty or a page written by whywrong."""
    try:
        with open_plain(path) as file:
            head = file.read(4096)
    except (OSError, RunFolderError):
        return False
    return not head or (head.lstrip().startswith(b"<!doctype html>") and _GENERATOR in head)


def _matches(names: re.Pattern[str]) -> Callable[[str], bool]:
    return lambda name: names.fullmatch(name) is not None


def _hidden(folder: Path) -> Iterator[Path]:
    try:
        names = os.listdir(folder)
    except OSError:
        return
    yield from (folder / name for name in names if name.startswith("."))


def _remove_scratch(path: Path) -> None:
    """Remove the folder of an unfinished listing, unless it holds anything else."""
    try:
        if stat.S_ISDIR(os.lstat(path).st_mode) and set(os.listdir(path)) <= _IN_SCRATCH:
            shutil.rmtree(path, ignore_errors=True)
    except OSError:
        return
