"""Atomic writing of pages, which never replaces a file that whywrong did not write."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from whywrong.core.errors import InputError
from whywrong.report.numbers import count
from whywrong.runs.store.files import check_kind, replacing
from whywrong.runs.store.layout import is_page
from whywrong.runs.store.temporaries import sweep

STATIC = Path(__file__).parent / "static"
"""Folder of the style and the scripts that pages carry."""


@functools.cache
def template(name: str) -> Template:
    """Return a template of the package, compiled once per process."""
    return _environment().get_template(name)


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("whywrong.report", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.globals["count"] = count
    return environment


def write_page(target: Path, pieces: Iterator[str]) -> None:
    """Write a page atomically.

    A reader never sees half a page. Temporary files of a killed writer are removed.

    Args:
        target: The file; an existing page of whywrong is replaced.
        pieces: Text of the page, whose head names whywrong as the generator.

    Raises:
        InputError: The target is another kind of file.
        RunFolderError: The target is a link, a folder, a pipe or a device.
        EnvironmentFailure: The file cannot be written.
    """
    check_page(target)
    sweep(target.parent, lambda name: name == target.name)
    with replacing(target, "the page was not written") as file:
        for piece in pieces:
            file.write(piece.encode("utf-8", "backslashreplace"))


def check_page(target: Path) -> None:
    """Raise an error if a page would overwrite another kind of file.

    Raises:
        InputError, RunFolderError: As for :func:`write_page`.
    """
    if not os.path.lexists(target):
        return
    check_kind(target, os.lstat(target).st_mode)
    if not is_page(target):
        raise InputError(f"{target}: this file was not written by whywrong, and is kept; name another file")
