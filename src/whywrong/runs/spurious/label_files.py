"""Labels of a person beside a search: written as they were read, and never over a file that somebody changed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from whywrong.core.csv_cells import guard_cell
from whywrong.core.errors import RunFolderError
from whywrong.runs.spurious.places import COMPONENTS, FOLDER, LABELS, SEARCH
from whywrong.runs.store.files import open_plain, read_whole
from whywrong.runs.store.shards import read_facts

if TYPE_CHECKING:
    from whywrong.runs.spurious.labels import Labels
    from whywrong.runs.spurious.search import Search

_LABELS_HEAD = b"class,component,label,basis\n"


def check_labels_place(folder: Path, labels: Path | None) -> None:
    """Refuse to write labels over a file that a person made or changed.

    Args:
        folder: Where a search is to be written.
        labels: The file of labels that was given; the very file in question is left as it is.

    Raises:
        RunFolderError: Names the file.
    """
    path = folder / FOLDER / LABELS
    if labels is None or not os.path.lexists(path) or os.path.samefile(path, labels):
        return
    if kept_labels(folder) is None:
        raise RunFolderError(f"{path}: somebody changed this file, and it is kept; move it away to write new labels")


def kept_labels(folder: Path) -> str | None:
    """The digest of a file of labels that is as whywrong wrote it; None for any other file, or none."""
    if not os.path.lexists(folder / FOLDER / LABELS):
        return None
    with open_plain(folder / FOLDER / LABELS) as file:
        content = file.read()
    stored, announced = {}, {}
    with contextlib.suppress(RunFolderError, ValueError):
        stored = json.loads(read_whole(folder / FOLDER / SEARCH))
    with contextlib.suppress(RunFolderError):
        announced = read_facts(folder / FOLDER / COMPONENTS)
    # Version 0.1 wrote no digest; its own file starts with the columns that it writes.
    former = content.startswith(_LABELS_HEAD) and "basis" in stored and "labels_file" not in stored
    digest = digest_of(content)
    return digest if former or digest in (stored.get("labels_file"), announced.get("labels_file")) else None


def is_given(labels: Labels, path: Path) -> bool:
    """Whether the labels were read from this very file."""
    return labels.path is not None and os.path.lexists(path) and os.path.samefile(labels.path, path)


def labels_text(search: Search, labels: Labels) -> bytes:
    """The file of labels."""
    lines = [
        f"{_quoted(search.names[index])},{number + 1},{word},{search.basis}\n"
        for (index, number), word in sorted(labels.words.items())
    ]
    return _LABELS_HEAD + "".join(lines).encode("utf-8", "surrogateescape")


def digest_of(content: bytes) -> str:
    """What tells one file of labels from another."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _quoted(text: str) -> str:
    return '"' + guard_cell(text).replace('"', '""') + '"'
