"""Class folders (``DATA/<class>/**/<image>``), and flat folders of images without labels."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator

from whywrong.core.errors import BadItemError, DataError
from whywrong.data.files import path_bytes, path_text, read_regular, to_text
from whywrong.data.formats import MAX_PIXELS
from whywrong.data.inside import is_remote, leads_out, outside
from whywrong.data.sources.base import Entry, Source, SourceSpec, judge_image
from whywrong.data.sources.walk import LINK, Walk

LOOSE = "image outside the class folders"
FOLLOW = "follow them with --follow-links (follow_links=True)"
_PARTS = {"train", "training", "val", "valid", "validation", "test", "testing", "eval", "dev"}


class FileSource(Source):
    """Images that are files in one folder; ``//``, which no path holds, ends the path in a key."""

    def __init__(self, spec: SourceSpec) -> None:
        super().__init__(spec)
        self._root = path_bytes(spec.path)
        if not os.path.isdir(self._root):
            raise DataError(f"{to_text(spec.path)}: no such folder")

    def _walk(self, ignored: Counter[str] | None = None) -> Walk:
        return Walk(self._root, follow_links=self.spec.follow_links, ignored=ignored)

    def _after_scan(self) -> None:
        links = self._ignored[LINK]
        if links:
            self._warnings.append(f"{links} symbolic links are not followed; {FOLLOW}")

    def _empty_text(self) -> str:
        return super()._empty_text() + (f"; {FOLLOW}" if self._ignored[LINK] else "")

    def path_of(self, entry: Entry) -> bytes:
        """Return the path of the entry's file.

        Raises:
            BadItemError: It is outside of the data.
        """
        return self._inside(entry.key.partition("//")[0])

    def read(self, entry: Entry, max_pixels: int = MAX_PIXELS) -> bytes:
        """Read the bytes of the image file.

        Raises:
            BadItemError: The file is missing, unreadable, no image, too large, or outside of the data.
        """
        path = self.path_of(entry)
        return read_regular(path, judge=judge_image(path_text(path), max_pixels))

    def _inside(self, path: str) -> bytes:
        """Return the file of a path in the listing, which may come from another person's run folder.

        Raises:
            BadItemError: It is outside of the data.
        """
        if self._leads_out(path):
            raise outside(
                path, "" if is_remote(path) else "; allow it with --follow-links (follow_links=True) if that is meant"
            )
        return os.path.join(self._root, path_bytes(path))

    def _leads_out(self, path: str) -> bool:
        return leads_out(self._root, path) and (is_remote(path) or not self.spec.follow_links)

    def stat(self, entry: Entry) -> tuple[int, int] | None:
        """Return the current (size, mtime_ns) of the file.

        Returns None if it has vanished.
        """
        try:
            status = os.stat(self.path_of(entry))
        except (OSError, BadItemError):
            return None
        return status.st_size, status.st_mtime_ns


class ClassFolderSource(FileSource):
    """One folder per class; the label is the folder's name, and empty folders are classes too."""

    @classmethod
    def recognise(cls, asked: SourceSpec) -> SourceSpec | None:
        """Recognise a folder that holds folders."""
        walk = Walk(path_bytes(asked.path), follow_links=asked.follow_links)
        return asked if any(True for _ in walk.folders()) else None

    def _entries(self, ignored: Counter[str]) -> Iterator[Entry]:
        walk = self._walk(ignored)
        for folder in walk.folders():
            label = path_text(folder)
            for found in walk.files(folder):
                yield Entry(path_text(found.path), label, found.size, found.mtime_ns)

    def scan(self) -> None:
        """Scan the listing, and refuse the splits of a data set as its classes.

        Raises:
            DataError: As in the base class, or folders called train, val and so on contain folders themselves.
        """
        if not self._scanned:
            parts = [name for name in map(path_text, self._walk().folders()) if name.lower() in _PARTS]
            parts = [name for name in parts if self._holds_folders(name)]
            if len(parts) > 1:
                known = (name for start in ("val", "test") for name in parts if name.lower().startswith(start))
                best = next(known, parts[0])
                raise DataError(
                    f"{to_text(self.spec.path)}: the folders {', '.join(map(to_text, parts))} are parts of a data set, "
                    f"not classes; give one of them, as {to_text(os.path.join(self.spec.path, best))}"
                )
        super().scan()

    def _holds_folders(self, name: str) -> bool:
        inner = Walk(os.path.join(self._root, path_bytes(name)), follow_links=self.spec.follow_links)
        return any(True for _ in inner.folders())

    def locate(self, label: str) -> str:
        """Return the class folder."""
        return f'folder "{to_text(label)}"'

    def _after_scan(self) -> None:
        walk = self._walk(self._ignored)
        names = [path_text(folder) for folder in walk.folders()]
        empty = [name for name in names if name not in self._labels]
        loose = sum(1 for _ in walk.files(deep=False))  # also counts other files beside the class folders
        if loose:
            self._ignored[LOOSE] = loose
            self._warnings.append(f"{loose} images lie outside the class folders and are left out")
        super()._after_scan()
        if self._count == 0:
            return
        if empty:
            shown = ", ".join(to_text(name) for name in empty[:5]) + (" ..." if len(empty) > 5 else "")
            self._warnings.append(f"{len(empty)} of {len(names)} class folders hold no images: {shown}")
        self._labels.update(dict.fromkeys(empty, 0))
        if len(names) == 1 and self._holds_folders(names[0]):
            inner = os.path.join(self.spec.path, names[0])
            raise DataError(
                f'{to_text(self.spec.path)}: its only folder, "{to_text(names[0])}", holds folders again; '
                f"give {to_text(inner)} if those are the classes"
            )


class FlatFolderSource(FileSource):
    """Images directly in one folder, without labels."""

    def _entries(self, ignored: Counter[str]) -> Iterator[Entry]:
        for found in self._walk(ignored).files(deep=False):
            yield Entry(path_text(found.path), None, found.size, found.mtime_ns)

    def locate(self, label: str) -> str:
        """Return the folder, since there are no labels."""
        return to_text(self.spec.path)
