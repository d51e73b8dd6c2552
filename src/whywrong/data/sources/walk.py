"""List a folder sorted by name, as a stream, in bounded memory, without opening files."""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from whywrong.core.errors import DataError
from whywrong.data.files import path_text, sorted_bytes, to_text
from whywrong.data.formats import IMAGE_SUFFIXES

HIDDEN = "hidden or system file"
LINK = "symbolic link, not followed"
LOOP = "link loop"
SPECIAL = "pipe, device or socket"
OTHER = "not an image by its name"

_SYSTEM = {b"thumbs.db", b"ehthumbs.db", b"desktop.ini", b"__macosx", b"@eadir", b"$recycle.bin", b"icon\r"}
_SUFFIX = re.compile(rb"\.(?=[0-9]*[a-z])[a-z0-9]{1,8}$")
_FOLDER, _FILE, _SYMLINK, _OTHER_KIND = b"d", b"f", b"l", b"s"


@dataclass(frozen=True, slots=True)
class Found:
    """File with its path below the root, in bytes, size and time of the last change (0, 0 if it has vanished)."""

    path: bytes
    size: int
    mtime_ns: int


def looks_like_image(name: bytes) -> bool:
    """Return whether a name has the suffix of an image or none.

    Without a suffix, the content decides.
    """
    suffix = _SUFFIX.search(name.lower())
    return suffix is None or suffix.group().decode() in IMAGE_SUFFIXES


def is_system(name: bytes) -> bool:
    """Return whether a file is hidden or created by the operating system."""
    return name.startswith(b".") or name.lower() in _SYSTEM


def list_folder(path: bytes) -> Iterator[tuple[bytes, bytes]]:
    """List everything in a folder, sorted by the bytes of the name.

    Yields (name, kind) with the kinds ``d``, ``f``, ``l``, ``s``.

    Raises:
        DataError: The folder cannot be listed.
    """
    try:
        with os.scandir(path) as found:
            names = sorted_bytes(entry.name + b"\0" + _kind(entry) for entry in found)
            for record in names:
                name, _, kind = record.rpartition(b"\0")
                yield name, kind
    except OSError as error:
        raise DataError(f"{to_text(path_text(path))}: the folder cannot be listed: {error.strerror}") from None


def _kind(entry: os.DirEntry[bytes]) -> bytes:
    if entry.is_symlink():
        return _SYMLINK
    if entry.is_dir(follow_symlinks=False):
        return _FOLDER
    return _FILE if entry.is_file(follow_symlinks=False) else _OTHER_KIND


class Walk:
    """Files below a root, depth first, sorted.

    Links to files inside the root are files. Other links are skipped, or followed with ``follow_links``. A folder that
    is its own ancestor is skipped, so that loops end.
    """

    def __init__(self, root: bytes, *, follow_links: bool = False, ignored: Counter[str] | None = None) -> None:
        self.root = root
        self.ignored = Counter() if ignored is None else ignored
        self._follow = follow_links
        self._real_root = os.path.realpath(root)

    def folders(self) -> Iterator[bytes]:
        """List the names of the visible folders directly in the root."""
        for name, kind in list_folder(self.root):
            if not is_system(name) and (kind == _FOLDER or (kind == _SYMLINK and self._link(name) == _FOLDER)):
                yield name

    def files(self, below: bytes = b"", *, deep: bool = True) -> Iterator[Found]:
        """List image files in a folder of the root by their names.

        Other files are counted in ``ignored``.
        """
        stack = [(below, list_folder(self._full(below)))]
        ancestors = [self._identity(below)]
        while stack:
            folder, names = stack[-1]
            name, kind = next(names, (b"", b""))
            if not name:
                stack.pop()
                ancestors.pop()
                continue
            path = folder + b"/" + name if folder else name
            kind = self._checked(path, name, kind)
            if kind == _FILE:
                yield self._found(path)
            elif kind == _FOLDER and deep:
                identity = self._identity(path)
                if identity in ancestors:
                    self.ignored[LOOP] += 1
                    continue
                stack.append((path, list_folder(self._full(path))))
                ancestors.append(identity)

    def _checked(self, path: bytes, name: bytes, kind: bytes) -> bytes:
        """Return ``d`` or ``f`` for an item to use, empty for a skipped and counted one."""
        if is_system(name):
            self.ignored[HIDDEN] += 1
            return b""
        if kind == _OTHER_KIND:
            self.ignored[SPECIAL] += 1
            return b""
        if kind == _SYMLINK:
            kind = self._link(path)
            if not kind:
                self.ignored[LINK] += 1
                return b""
        if kind == _FILE and not looks_like_image(name):
            self.ignored[OTHER] += 1
            return b""
        return kind

    def _link(self, path: bytes) -> bytes:
        """Return the kind of a link's target, ``f`` or ``d``, or empty if it is not followed."""
        full = self._full(path)
        try:
            mode = os.stat(full).st_mode
        except OSError:
            mode = None  # broken link: if links are followed, an item that fails when it is read
        if self._follow:
            if mode is not None and stat.S_ISDIR(mode):
                return _FOLDER
            return _FILE if mode is None or stat.S_ISREG(mode) else b""
        inside = os.path.realpath(full).startswith(self._real_root.rstrip(b"/") + b"/")
        return _FILE if inside and (mode is None or stat.S_ISREG(mode)) else b""

    def _found(self, path: bytes) -> Found:
        try:
            status = os.stat(self._full(path))
        except OSError:
            return Found(path, 0, 0)
        return Found(path, status.st_size, status.st_mtime_ns)

    def _identity(self, path: bytes) -> tuple[int, int]:
        try:
            status = os.stat(self._full(path))
        except OSError as error:
            raise DataError(f"{to_text(path_text(self._full(path)))}: {error.strerror}") from None
        return status.st_dev, status.st_ino

    def _full(self, path: bytes) -> bytes:
        return os.path.join(self.root, path) if path else self.root
