"""Folder of images with a table beside them, ``path, label, mask, x_min, y_min, x_max, y_max, cause``."""

from __future__ import annotations

import os
import posixpath
from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from itertools import islice

import numpy as np

from whywrong.core.errors import BadItemError, DataError
from whywrong.data.files import path_bytes, path_text, read_regular, to_text
from whywrong.data.sources.base import Entry, SourceSpec, judge_image
from whywrong.data.sources.folder import FileSource
from whywrong.data.sources.label_values import UNLABELLED, label_text, one_hot_classes
from whywrong.data.sources.rows import (
    PATHS,
    Row,
    Table,
    box_of,
    extra_columns,
    forward_slashes,
    hash64,
    image_columns,
    path_of,
)

_MANIFESTS = ("manifest.csv", "manifest.parquet")  # found in a folder if no table is named
_KNOWN = ("path", "file", "label", "mask", "x_min", "y_min", "x_max", "y_max", "cause")
_LOOKED_AT = 100  # rows inspected to detect one-hot columns
DUPLICATE = "duplicate row"


class TableSource(FileSource):
    """Rows of a manifest, in order; paths are relative to the folder.

    The key is the path. If a path has several labels, the key is ``path//label``, so that each is its own item.
    Repeated rows are skipped and counted. Memory: sixteen bytes per row.
    """

    @classmethod
    def recognise(cls, asked: SourceSpec) -> SourceSpec | None:
        """Recognise a table, or a folder that contains one or is given with one.

        Raises:
            DataError: Two tables are given, or one holds both images and paths.
        """
        path = asked.path
        if not os.path.isdir(path_bytes(path)):
            if path.lower().endswith(".parquet") and _holds_images(path, asked.image):
                return None
            if asked.manifest is not None:
                raise DataError(f"{to_text(path)}: a manifest goes with the folder of its images")
            return replace(asked, path=os.path.dirname(path), manifest=path)
        own = (os.path.join(path, name) for name in _MANIFESTS)
        manifest = asked.manifest or next((file for file in own if os.path.isfile(path_bytes(file))), None)
        return None if manifest is None else replace(asked, manifest=manifest)

    def __init__(self, spec: SourceSpec) -> None:
        super().__init__(spec)
        if spec.manifest is None:
            raise DataError("a table source needs a manifest")
        self._path_columns = (spec.image.strip().lower(),) if spec.image else PATHS
        hint = ". Name the one with the paths with --image-column (image_column=...)"
        self._table = Table.open(spec.manifest, self._path_columns, hint=hint)
        self._label = _label_column(self._table, spec.label, self._path_columns)
        self._labelled = self._label is not None and any(
            row.cells[self._label] not in (None, "") for row in self._table.rows()
        )
        self._outside: list[str] = []
        self._missing: list[str] = []

    def _entries(self, ignored: Counter[str]) -> Iterator[Entry]:
        repeated, contested = self._repeated
        seen: dict[tuple[str, str | None], tuple[str, Entry]] = {}
        counting = ignored is self._ignored
        for row in self._table.rows():
            path = self._path_of(row)
            label = self._label_of(row) if self._labelled else None
            path_hash = hash64(path)
            entry = self._entry(row, path, label, path_hash in contested)
            if path_hash in repeated:
                where, first = seen.setdefault((path, label), (row.where, entry))
                if where != row.where:
                    if (first.box, first.mask) != (entry.box, entry.mask):
                        raise DataError(f"{row.where}: another box or mask for the image and label of {where}")
                    ignored[DUPLICATE] += 1
                    continue
            if counting and self._leads_out(path):
                self._outside.append(f'{row.where}: "{to_text(path)}"')
                del self._outside[10:]
                self._outside_count += 1
            elif counting and not entry.mtime_ns:
                self._missing.append(f'{row.where}, "{to_text(path)}"')
                del self._missing[10:]
                self._missing_count += 1
            yield entry

    def _entry(self, row: Row, path: str, label: str | None, contested: bool) -> Entry:
        mask = row.cells.get("mask")
        if mask is not None:
            mask = self._path(row, path_of(row, ("mask",)))
        try:
            status = os.stat(self._inside(path))
            size, mtime_ns = status.st_size, status.st_mtime_ns
        except (OSError, BadItemError):  # reading it gives the reason
            size, mtime_ns = 0, 0
        key = f"{path}//{label}" if contested else path
        cause = row.cells.get("cause")
        return Entry(key, label, size, mtime_ns, box_of(row), mask, None if cause is None else str(cause))

    def read_mask(self, entry: Entry) -> bytes:
        """Read the bytes of the mask's file.

        Raises:
            BadItemError: The file is missing, unreadable or too large.
        """
        if entry.mask is None:
            raise DataError(f"{entry.key} has no mask")
        return read_regular(self._inside(entry.mask), judge=judge_image(entry.mask))

    def locate(self, label: str) -> str:
        """Return the first line with the label."""
        for row in self._table.rows():
            if self._labelled and self._label_of(row) == label:
                return row.where
        return self._table.name

    def _path_of(self, row: Row) -> str:
        return self._path(row, path_of(row, self._path_columns))

    def _label_of(self, row: Row) -> str:
        return label_text(row.cells[self._label] if self._label else None, row.where)

    def _path(self, row: Row, written: str) -> str:
        """Normalise a path in the folder; backslashes separate folders unless a file's name has them.

        Raises:
            DataError: The path names no file.
        """
        if "\\" in written and not os.path.lexists(self._file(written)):
            written = forward_slashes(written)
        path = posixpath.normpath(written)
        path = path[1:] if path.startswith("//") else path  # ``//`` separates path and label in a key
        if posixpath.isabs(path):
            relative = posixpath.relpath(path, self.spec.path)
            path = path if relative.startswith("..") else relative
        if not posixpath.basename(path):
            raise DataError(f'{row.where}: "{to_text(written)}" is not a file')
        return path

    def _file(self, path: str) -> bytes:
        return os.path.join(self._root, path_bytes(path))

    @cached_property
    def _repeated(self) -> tuple[frozenset[int], frozenset[int]]:
        """Hashes of the paths in more than one row, and of those with several labels."""
        paths, pairs = array("Q"), array("Q")
        for row in self._table.rows():
            path = self._path_of(row)
            paths.append(hash64(path))
            pairs.append(hash64(f"{path}//{self._label_of(row)}") if self._labelled else paths[-1])
        by_row = np.frombuffer(paths, dtype=np.uint64)
        _, first = np.unique(np.frombuffer(pairs, dtype=np.uint64), return_index=True)
        return _several(by_row), _several(by_row[first])

    def scan(self) -> None:
        """Scan the listing and compare the table with the folder.

        Raises:
            DataError: As in the base class, or no row names an existing file.
        """
        if not self._scanned:
            self._missing.clear()
            self._outside.clear()
            self._missing_count = self._outside_count = 0
        super().scan()

    def _after_scan(self) -> None:
        super()._after_scan()
        name, folder = self._table.name, to_text(self.spec.path)
        if self._ignored[DUPLICATE]:
            self._warnings.append(f"{name}: {self._ignored[DUPLICATE]} rows repeat an earlier row and are read once")
        extra = extra_columns(self._table, (*_KNOWN, *self._path_columns, self._label or ""))
        if extra:
            self._warnings.append(f"{name}: columns not used: {', '.join(map(to_text, extra))[:300]}")
        out, missing = self._outside_count, self._missing_count
        if out:
            text = f"leads out of {folder}; allow it with --follow-links (follow_links=True) if that is meant"
            if out == self._count:
                raise DataError(f"{self._outside[0]} {text}; so do all {out} rows")
            self._warnings.append(
                f"{'1 row names' if out == 1 else f'{out} rows name'} something outside the data, which is not read; "
                f"{self._outside[0]} {text}"
            )
        if missing and missing == self._count:
            raise DataError(f"{name}: none of its {missing} files is in {folder} (first: {self._missing[0]})")
        unnamed, present = self._unnamed()
        if missing:
            self._warnings.append(
                f"{name} lists {self._count} items, {folder} holds {present} images: "
                f"{missing} listed files are not there ({'; '.join(self._missing[:3])})"
            )
        if unnamed:
            self._warnings.append(
                f"{name} lists {self._count} items, {folder} holds {present} images: {unnamed} images have no row "
                "and are left out"
            )

    def _unnamed(self) -> tuple[int, int]:
        """Count the images in the folder that no row names, and all images that are not masks."""
        named = np.sort(np.frombuffer(self._hashes("path"), dtype=np.uint64))
        masks = np.sort(np.frombuffer(self._hashes("mask"), dtype=np.uint64))
        unnamed = present = 0
        for found in self._walk(Counter()).files():
            key = np.uint64(hash64(path_text(found.path)))
            if _holds(masks, key):
                continue
            present += 1
            unnamed += not _holds(named, key)
        return unnamed, present

    def _hashes(self, column: str) -> array:
        columns = self._path_columns if column == "path" else (column,)
        return array(
            "Q",
            (
                hash64(posixpath.normpath(self._path(row, path_of(row, columns))))
                for row in self._table.rows()
                if column == "path" or row.cells.get(column) is not None
            ),
        )

    def _empty_text(self) -> str:
        return f"{self._table.name}: no rows"


def _holds_images(path: str, asked: str | None) -> bool:
    """Return whether a Parquet file is a data set with images instead of a table of paths.

    Raises:
        DataError: It holds both, and no option selects one.
    """
    images = image_columns(path)
    if not images or asked is not None:
        return asked in images
    paths = [name for name in Table.open(path, (*PATHS, *images)).columns if name in PATHS]
    if paths:
        raise DataError(
            f'{to_text(path)}: column "{images[0]}" holds images, column "{paths[0]}" paths; say which to read with '
            f"--image-column {images[0]} or --image-column {paths[0]} (image_column=...)"
        )
    return True


def _label_column(table: Table, asked: str | None, paths: tuple[str, ...]) -> str | None:
    """Return the label column; None for a table without labels.

    Raises:
        DataError: The requested column is missing, or there is no ``label`` and other columns may hold the labels.
    """
    if asked is not None and asked.strip().lower() in table.columns:
        return asked.strip().lower()
    if asked == UNLABELLED:
        return None
    if asked is not None:
        raise DataError(f'{table.name} line 1: no column "{to_text(asked)}"; the columns are {table.listed}')
    if "label" in table.columns:
        return "label"
    others = extra_columns(table, (*_KNOWN, *paths))
    if not others:
        return None
    rows = [[row.cells[column] for column in others] for row in islice(table.rows(), _LOOKED_AT)]
    if _one_hot(rows):
        raise DataError(
            f"{table.name}: its columns {', '.join(map(to_text, others))[:200]} look one-hot, which is not read; write "
            'the name of the class of each image into one column, "label"'
        )
    raise DataError(
        f'{table.name} line 1: no column "label"; the columns are {table.listed}. Name the one with the labels with '
        f"--label-column (label_column=...), or say --label-column {UNLABELLED} for images without labels"
    )


def _one_hot(rows: list[list[object]]) -> bool:
    try:
        values = np.array([[float(cell) for cell in row] for row in rows])  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return False
    return values.ndim == 2 and one_hot_classes(values) is not None


def _several(values: np.ndarray) -> frozenset[int]:
    """Return values that occur more than once."""
    ranked = np.sort(values)
    return frozenset(np.unique(ranked[1:][ranked[1:] == ranked[:-1]]).tolist())


def _holds(sorted_hashes: np.ndarray, key: np.uint64) -> bool:
    at = int(np.searchsorted(sorted_hashes, key))
    return at < len(sorted_hashes) and bool(sorted_hashes[at] == key)
