"""Object boxes from a table with ``file`` and four columns, matched against the end of an item's key."""

from __future__ import annotations

import posixpath
from array import array
from dataclasses import dataclass

import numpy as np

from whywrong.core.errors import DataError
from whywrong.data.files import to_text
from whywrong.data.sources.rows import Box, Table, box_of, forward_slashes, hash64, path_of

_COLUMNS = ("file", "path")


@dataclass(frozen=True, slots=True, eq=False)
class BoxTable:
    """Boxes of many images in flat arrays, sorted by the hash of the file's name.

    Attributes:
        name: File name of the table.
        hashes: (N,) uint64, sorted.
        boxes: (N, 4) int32, inclusive pixels.
        rows: (N,) int64, row numbers in the table, from 1 without the header.
    """

    name: str
    hashes: np.ndarray
    boxes: np.ndarray
    rows: np.ndarray

    @classmethod
    def load(cls, path: str) -> BoxTable:
        """Read the table, without the rows that have no box.

        Raises:
            DataError: A row is invalid, or one file has two boxes; the message names the line.
        """
        table = Table.open(path, _COLUMNS)
        hashes, boxes, rows = array("Q"), array("i"), array("q")
        for number, row in enumerate(table.rows(), start=1):
            box = box_of(row)
            if box is not None:
                hashes.append(hash64(posixpath.normpath(forward_slashes(path_of(row, _COLUMNS)))))
                boxes.extend(box)
                rows.append(number)
        if not rows:
            raise DataError(f"{table.name}: no boxes; expected the columns file, x_min, y_min, x_max, y_max")
        keys = np.frombuffer(hashes, dtype=np.uint64)
        order = np.argsort(keys, kind="stable")
        found = cls(
            table.name,
            keys[order],
            np.frombuffer(boxes, dtype=np.int32).reshape(-1, 4)[order],
            np.frombuffer(rows, dtype=np.int64)[order],
        )
        return found._one_box_each(table)

    def _one_box_each(self, table: Table) -> BoxTable:
        same = self.hashes[1:] == self.hashes[:-1]
        differ = same & (self.boxes[1:] != self.boxes[:-1]).any(axis=1)
        if differ.any():
            at = int(np.argmax(differ))
            first, second = (_where(table, int(self.rows[at + i])) for i in (0, 1))
            raise DataError(f"{second}: this file has another box already ({first}); one box an image, or use masks")
        keep = np.concatenate([[True], ~same])
        return BoxTable(self.name, self.hashes[keep], self.boxes[keep], self.rows[keep])

    def __len__(self) -> int:
        """Number of files with a box."""
        return len(self.hashes)

    def find(self, key: str) -> int | None:
        """Find the row whose ``file`` is the longest matching end of the key.

        Returns its position, or None if there is none.
        """
        parts = forward_slashes(key.partition("//")[0]).split("/")
        for start in range(len(parts)):
            wanted = np.uint64(hash64("/".join(parts[start:])))
            at = int(np.searchsorted(self.hashes, wanted))
            if at < len(self.hashes) and self.hashes[at] == wanted:
                return at
        return None

    def box(self, position: int) -> Box:
        """Return the box (x_min, y_min, x_max, y_max) of a row."""
        x_min, y_min, x_max, y_max = map(int, self.boxes[position])
        return x_min, y_min, x_max, y_max


class BoxUse:
    """Rows of a box table that were matched to an image while a listing is read."""

    def __init__(self, table: BoxTable) -> None:
        self._table = table
        self._user = np.zeros(len(table), dtype=np.uint64)

    def add(self, position: int, key: str) -> None:
        """Record that the image ``key`` uses the box at ``position``.

        Raises:
            DataError: Another image uses it already, so that the name in the table is ambiguous.
        """
        user = hash64(key.partition("//")[0])
        if self._user[position] not in (0, user):
            raise DataError(
                f"{self._table.name} row {int(self._table.rows[position])}: the file name stands for several images, "
                f'"{to_text(key)}" among them; write more of its path'
            )
        self._user[position] = user

    def warnings(self) -> list[str]:
        """Return warnings for the user.

        Raises:
            DataError: No row matches any image.
        """
        unused = int((self._user == 0).sum())
        if unused == len(self._table):
            raise DataError(f"{self._table.name}: none of its {unused} files is among the images")
        return [f"{unused} of {len(self._table)} boxes of {self._table.name} belong to no image"] if unused else []


def _where(table: Table, number: int) -> str:
    for at, row in enumerate(table.rows(), start=1):
        if at == number:
            return row.where
    return f"{table.name} row {number}"
