"""Trees as bytes, for tests that say what a command leaves untouched, and ways to put other things into a run."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path


def picture(folder: Path) -> dict[str, tuple[object, ...]]:
    """Of everything below a folder: kind, content or target, and time of change, by path."""
    found: dict[str, tuple[object, ...]] = {}
    for path in [folder, *sorted(folder.rglob("*"))]:
        facts = os.lstat(path)
        held: object = None
        if stat.S_ISREG(facts.st_mode):
            held = path.read_bytes()
        elif stat.S_ISLNK(facts.st_mode):
            held = os.readlink(path)
        found[path.relative_to(folder).as_posix()] = stat.S_IFMT(facts.st_mode), held, facts.st_mtime_ns
    return found


def content(folder: Path) -> dict[str, tuple[object, ...]]:
    """As :func:`picture` without times: a lock, or a page in the making, comes and goes."""
    return {name: facts[:2] for name, facts in picture(folder).items()}


def fill(folder: Path, files: dict[str, str]) -> Path:
    """Files by name, with their text; a name that ends in a slash is a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        path = folder / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return folder


def pipe(path: Path) -> None:
    """A pipe that nobody writes to."""
    os.mkfifo(path)


def listening(path: Path) -> None:
    """A socket; made in the current folder, since its address must be short."""
    here = os.getcwd()
    os.chdir(path.parent)
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(here)


def linked_device(path: Path) -> None:
    """A link to a device that never ends."""
    path.symlink_to("/dev/zero")


def folder(path: Path) -> None:
    """A folder where a file is due."""
    path.mkdir()


STRANGE: dict[str, Callable[[Path], None]] = {
    "pipe": pipe,
    "socket": listening,
    "device": linked_device,
    "folder": folder,
}
