"""Read class lists from files, as text with one name per line, JSON in any form, or CSV."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Literal

from whywrong.core.class_names import read_class_lines, read_class_names
from whywrong.core.classes import ClassList
from whywrong.core.errors import InputError

SORTED: Literal["sorted"] = "sorted"
"""Stands for the sorted labels of the data in place of a list: the order of torchvision's ``ImageFolder``."""

_MAX_BYTES = 64 * 2**20
_NAMES = ("name", "class_name", "class", "label", "label_name", "category", "description")
_INDICES = ("index", "idx", "class_index", "class_idx", "class_id", "id")


def read_class_file(path: Path) -> ClassList:
    """Read the classes of a model from a file.

    Args:
        path: ``.json`` (list, records, index -> name, name -> index, or a configuration with ``id2label``), ``.csv`` or
            ``.tsv`` with a column ``name`` and optionally ``index`` and ``wnid``, or text with one name per line. The
            classes are in the order of the model's outputs.

    Raises:
        InputError: The file cannot be read, or holds no list of classes.
    """
    try:
        if path.is_dir() or not path.exists():
            raise InputError(f"no list of classes at {path}; give a .txt, .json or .csv file, or {SORTED}")
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise InputError(f"{path}: larger than {_MAX_BYTES >> 20} MiB, not a list of classes")
        text = data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"classes could not be read from {path}: {error}") from error
    if path.suffix.lower() == ".json":
        return _read_json(text, path)
    if path.suffix.lower() in (".csv", ".tsv"):
        return _read_csv(text, path)
    return read_class_lines(text, str(path))


def _read_json(text: str, path: Path) -> ClassList:
    try:
        value = json.loads(text, object_pairs_hook=lambda pairs: _each_once(pairs, path))
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"classes could not be read from {path}: {error}") from error
    if not isinstance(value, (list, dict)):
        raise InputError(f"{path} must hold a list of names, index -> name, or name -> index")
    return read_class_names(value, str(path))


def _each_once(pairs: list[tuple[str, object]], path: Path) -> dict[str, object]:
    """Build an object and refuse duplicate keys, of which JSON readers silently keep the last."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise InputError(f'{path}: "{next(key for key in keys if keys.count(key) > 1)}" comes twice')
    return found


def _read_csv(text: str, path: Path) -> ClassList:
    first = text.lstrip().partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True) if any(row)]
    except csv.Error as error:
        raise InputError(f"classes could not be read from {path}: {error}") from None
    header = [cell.strip().lower() for cell in rows[0]] if rows else []
    name = next((header.index(column) for column in _NAMES if column in header), None)
    index = next((header.index(column) for column in _INDICES if column in header), None)
    if name is None:
        if max(map(len, rows), default=0) <= 2:  # without a header, names or index and name
            return read_class_lines("\n".join(" ".join(map(str.strip, row)) for row in rows), str(path))
        raise InputError(f'{path} line 1: no column "name"; the columns are {", ".join(header)}'[:300])
    wnid = header.index("wnid") if "wnid" in header else None
    entries = []
    for number, row in enumerate(rows[1:]):
        where = f"{path} row {number + 1}"
        if len(row) != len(header):
            raise InputError(f"{where}: expected {len(header)} fields, got {len(row)}")
        text_index = str(number) if index is None else row[index].strip()
        if not (text_index.isascii() and text_index.isdecimal()):
            raise InputError(f"{where}: expected an index from 0, got {text_index!r}")
        record = {"index": int(text_index), "name": row[name].strip()}
        entries.append(record if wnid is None else record | {"wnid": row[wnid].strip()})
    return read_class_names(entries, str(path))
