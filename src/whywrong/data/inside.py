"""Check that a path in a row of a data set is inside the data; nothing outside is ever read."""

from __future__ import annotations

import os
import posixpath
import re

from whywrong.core.errors import BadItemError
from whywrong.data.files import path_bytes, to_text

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/|.*::")  # one slash, since normalising a path merges two
_DRIVE = re.compile(r"[A-Za-z]:[\\/]|\\\\")


def is_remote(path: str) -> bool:
    """Return whether a path is a URL or a chain such as ``zip://a.png::b.zip``."""
    return _URL.match(path) is not None


def leads_out(root: bytes, path: str) -> bool:
    """Return whether a path leaves the folder ``root`` directly or through a link.

    Args:
        root: The folder, in bytes.
        path: As written in the data, relative to the folder or absolute.
    """
    odd = is_remote(path) or _DRIVE.match(path)
    if (odd or "\\" in path) and not os.path.lexists(os.path.join(root, path_bytes(path))):
        if odd:
            return True
        path = path.replace("\\", "/")
    if posixpath.normpath(path).split("/", 1)[0] == "..":
        return True
    folder = os.path.realpath(root)
    real = os.path.realpath(os.path.join(root, path_bytes(path)))
    return real != folder and not real.startswith(folder.rstrip(b"/") + b"/")


def outside(path: str, remedy: str = "") -> BadItemError:
    """Build the error for an item whose row names a path outside of the data."""
    what = "a URL, which is never fetched" if is_remote(path) else f'"{to_text(path)[:200]}" is not read'
    return BadItemError(f"outside the data: {what}{remedy}")
