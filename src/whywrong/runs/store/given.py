"""Files that a command puts into a run folder before the run begins, never over an existing file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from whywrong.core.errors import RunFolderError
from whywrong.runs.store.files import commit, open_plain
from whywrong.runs.store.layout import check_folder
from whywrong.runs.store.lock import RunLock


def put_into_run(folder: Path, given: Mapping[str, bytes]) -> None:
    """Write files into a folder that is empty or holds a run with the same files.

    Args:
        folder: The run folder, created if missing.
        given: Content by name.

    Raises:
        RunFolderError: The folder holds something else, or a file of that name with another content.
    """
    check_folder(folder, given)
    with RunLock(folder):
        for name, content in given.items():
            path = folder / name
            if not os.path.lexists(path):
                commit(path, content)
                continue
            with open_plain(path) as file:
                if file.read(len(content) + 1) != content:
                    raise RunFolderError(f"{path}: this folder belongs to another image or label; name another folder")
