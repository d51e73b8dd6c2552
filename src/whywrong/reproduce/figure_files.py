"""Atomic writing of figures, without ever replacing a file that is not a figure of this program."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING

from whywrong._version import __version__
from whywrong.core.errors import InputError
from whywrong.runs.store.files import check_kind, open_plain, replacing
from whywrong.runs.store.temporaries import sweep

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MARK = "figure by whywrong"
_FIELDS = {"png": "Software", "svg": "Creator", "pdf": "Creator", "ps": "Creator", "eps": "Creator"}


def write_figure(figure: Figure, path: Path) -> None:
    """Write a figure, replacing only an existing figure of this program.

    Args:
        figure: The figure.
        path: The file; its ending selects the format.

    Raises:
        InputError: matplotlib does not know the format, or the path is another kind of file.
        RunFolderError: The path is a link, a folder, a pipe or a device.
        EnvironmentFailure: The file cannot be written.
    """
    check_place(path)
    kind = path.suffix[1:].lower()
    content = io.BytesIO()
    field = _FIELDS.get(kind)
    figure.savefig(content, format=kind, metadata={field: f"{_MARK} {__version__}"} if field else None)
    sweep(path.parent, lambda name: name == path.name)
    with replacing(path, "the figure was not written") as file:
        file.write(content.getvalue())


def check_place(path: Path) -> None:
    """Refuse a path where a figure would overwrite something else.

    Call it before computing anything for the figure.

    Raises:
        InputError, RunFolderError: As for :func:`write_figure`.
    """
    from matplotlib.backend_bases import FigureCanvasBase

    known = FigureCanvasBase.get_supported_filetypes()
    if path.suffix[1:].lower() not in known:
        raise InputError(f"{path}: figures end in {', '.join(f'.{ending}' for ending in sorted(known))}")
    if not os.path.lexists(path):
        return
    check_kind(path, os.lstat(path).st_mode)
    with open_plain(path) as file:
        if _MARK.encode() not in file.read():
            raise InputError(f"{path}: this file is no figure that whywrong has marked, and is kept; name another file")
