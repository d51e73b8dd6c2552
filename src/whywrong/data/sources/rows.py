"""Stream the rows of a CSV or Parquet table beside the images, each with its line number."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from whywrong.core.csv_cells import plain_cell
from whywrong.core.errors import BadItemError, DataError
from whywrong.data.files import open_regular, path_bytes, path_text, to_text

_DELIMITERS = ",;\t|"
_HEADER_LIMIT = 2**16
PATHS = ("path", "file")
"""Columns of a table that name its images."""

_BOX = ("x_min", "y_min", "x_max", "y_max")
_ROW_NUMBERS = re.compile(r"|unnamed: \d+|index|__index_level_\d+__")  # columns that pandas writes by itself

Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Row:
    """One row, with its location (``labels.csv line 41``) and its cells by column; None for a missing value."""

    where: str
    cells: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Table:
    """A CSV or Parquet file with a header.

    Attributes:
        path: Absolute path of the file.
        columns: Names of the columns, lower case, in the order of the file.
    """

    path: str
    columns: tuple[str, ...]
    delimiter: str | None

    @property
    def name(self) -> str:
        """File name for messages."""
        return to_text(os.path.basename(self.path))

    @property
    def listed(self) -> str:
        """Columns for messages."""
        return ", ".join(to_text(repr(column)) for column in self.columns)[:300]

    @classmethod
    def open(cls, path: str, needed: Sequence[str], *, hint: str = "") -> Table:
        """Open a table and read its header.

        Args:
            path: File; Parquet by its content, otherwise CSV (comma, semicolon, tab or bar; UTF-8, optional BOM).
            needed: Columns of which at least one must exist.
            hint: What to do if none exists, for the message.

        Raises:
            DataError: The file is missing, unreadable, of another encoding, or without the columns.
        """
        try:
            with open_regular(path_bytes(path)) as file:
                head = file.read(_HEADER_LIMIT)
        except BadItemError as error:
            raise DataError(f"{to_text(path)}: {error.reason}") from None
        name = to_text(os.path.basename(path))
        if head[:4] == b"PAR1":
            table = cls(path, tuple(column.strip().lower() for column in _parquet(path).schema_arrow.names), None)
        else:
            table = cls._open_csv(path, name, head, needed)
        if not set(needed) & set(table.columns):
            raise DataError(f'{name} line 1: no column "{needed[0]}"; the columns are {table.listed}{hint}')
        repeated = {column for column in table.columns if column and table.columns.count(column) > 1}
        if repeated:
            raise DataError(f"{name} line 1: column {sorted(repeated)[0]!r} stands twice")
        return table

    @classmethod
    def _open_csv(cls, path: str, name: str, head: bytes, needed: Sequence[str]) -> Table:
        if not head.strip(b"\xef\xbb\xbf \r\n\t"):
            raise DataError(f"{name}: empty file, expected a header with column {needed[0]!r}")
        if head.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in head:
            raise DataError(f"{name} line 1: not UTF-8 text; save the table as CSV UTF-8 or as Parquet")
        first = head.removeprefix(b"\xef\xbb\xbf").lstrip(b"\r\n").splitlines()[0].decode("utf-8", "surrogateescape")
        headers = {delimiter: _header(first, delimiter) for delimiter in _DELIMITERS}
        fitting = [d for d, columns in headers.items() if set(needed) & set(columns)]
        delimiter = max(fitting or _DELIMITERS, key=lambda d: len(headers[d]))
        return cls(path, headers[delimiter], delimiter)

    def rows(self) -> Iterator[Row]:
        """Yield all rows.

        Raises:
            DataError: A row does not fit the header, or a quote is not closed; the message names the line.
        """
        return self._parquet_rows() if self.delimiter is None else self._csv_rows(self.delimiter)

    def _csv_rows(self, delimiter: str) -> Iterator[Row]:
        with open_regular(path_bytes(self.path)) as raw:
            text = io.TextIOWrapper(
                io.BufferedReader(raw, 2**16),  # type: ignore[arg-type]
                encoding="utf-8-sig",
                errors="surrogateescape",
                newline="",
            )
            reader = csv.reader(text, delimiter=delimiter, strict=True)
            line, header_seen = 1, False
            while True:
                where = f"{self.name} line {line}"
                try:
                    cells = next(reader)
                except StopIteration:
                    return
                except (csv.Error, OSError) as error:
                    raise DataError(f"{where}: {error}") from None
                line = reader.line_num + 1
                if not any(cells):
                    continue
                if not header_seen:
                    header_seen = True
                    continue
                if len(cells) != len(self.columns):
                    raise DataError(f"{where}: expected {len(self.columns)} fields, got {len(cells)}")
                yield Row(
                    where, {column: plain_cell(cell) or None for column, cell in zip(self.columns, cells, strict=True)}
                )

    def _parquet_rows(self) -> Iterator[Row]:
        number = 0
        for columns in self._parquet_batches():
            for cells in zip(*columns, strict=True):
                number += 1
                yield Row(f"{self.name} row {number}", dict(zip(self.columns, cells, strict=True)))

    def _parquet_batches(self) -> Iterator[list[list[Any]]]:
        """Yield the columns of some rows at a time; damage is found only when a page is read."""
        batches = _parquet(self.path).iter_batches(batch_size=8192)
        while True:
            try:
                batch = next(batches, None)
                columns = None if batch is None else [column.to_pylist() for column in batch.columns]
            except _DAMAGE as error:
                raise _damaged(self.path, error) from None
            if columns is None:
                return
            yield columns


def _header(line: str, delimiter: str) -> tuple[str, ...]:
    try:
        return tuple(column.strip().lower() for column in next(csv.reader([line], delimiter=delimiter), []))
    except csv.Error:
        return ()


def _parquet(path: str) -> Any:
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(os.fsdecode(path_bytes(path)))
    except _DAMAGE as error:
        raise _damaged(path, error) from None


def image_columns(path: str) -> list[str]:
    """Find the columns of a Parquet file that hold image files.

    If there is a column with paths, bytes count only if they have their own path, as in Hugging Face images; other
    bytes may be anything.

    Returns:
        Names of the columns; none if the file cannot be read.
    """
    import pyarrow.types as kinds

    try:
        schema = _parquet(path).schema_arrow
    except DataError:
        return []
    structs = [
        field.name
        for field in schema
        if kinds.is_struct(field.type) and {inner.name for inner in field.type.fields} == {"bytes", "path"}
    ]
    if structs or {name.strip().lower() for name in schema.names} & set(PATHS):
        return structs
    return [field.name for field in schema if kinds.is_binary(field.type) or kinds.is_large_binary(field.type)]


# What pyarrow raises for damaged bytes; its own ArrowInvalid, ArrowNotImplementedError and so on derive from these.
_DAMAGE = (OSError, ValueError, TypeError, NotImplementedError, MemoryError, OverflowError, KeyError, RuntimeError)


def _damaged(path: str, error: Exception) -> DataError:
    reason = " ".join(str(error).split())[:200]
    return DataError(f"{to_text(os.path.basename(path))}: not a readable Parquet file: {reason}")


def path_of(row: Row, columns: Sequence[str]) -> str:
    """Return the path in a row as written.

    Raises:
        DataError: The path is missing or not text.
    """
    value = next((row.cells[column] for column in columns if row.cells.get(column) is not None), None)
    if isinstance(value, bytes):
        value = path_text(value)
    if not isinstance(value, str) or not value or "\0" in value:
        raise DataError(f"{row.where}: expected a path, got {value!r}")
    return value


def forward_slashes(path: str) -> str:
    """Replace the backslashes of a Windows path by slashes."""
    return path.replace("\\", "/")


def box_of(row: Row) -> Box | None:
    """Return the box in a row, in inclusive pixels.

    Returns None if all four cells are empty.

    Fractions, as written by annotation tools, mean the pixel that contains them.

    Raises:
        DataError: Some cells are missing, no numbers, negative or in the wrong order; the message names the line.
    """
    cells = [row.cells.get(column) for column in _BOX]
    if all(cell is None for cell in cells):
        return None
    values = []
    for column, cell in zip(_BOX, cells, strict=True):
        try:
            number = float(cell)  # type: ignore[arg-type]
        except (TypeError, ValueError):
            number = float("nan")
        if not 0 <= number < 2**31:
            raise DataError(f"{row.where}: {column} must be a number of pixels from 0, got {cell!r}")
        values.append(int(number))
    x_min, y_min, x_max, y_max = values
    if x_min > x_max or y_min > y_max:
        raise DataError(f"{row.where}: the box ({x_min}, {y_min}, {x_max}, {y_max}) ends before it begins")
    return x_min, y_min, x_max, y_max


def extra_columns(table: Table, known: Sequence[str]) -> list[str]:
    """List the columns that are not used, except row numbers."""
    return [column for column in table.columns if column not in known and not _ROW_NUMBERS.fullmatch(column)]


def hash64(text: str) -> int:
    """Hash a name to 64 bits.

    Tables of a million names stay small, and collisions do not occur in practice.
    """
    return int.from_bytes(hashlib.blake2b(path_bytes(text), digest_size=8).digest(), "little")
