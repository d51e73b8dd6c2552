"""Class names in every form in which models and files store them; an unclear form is an error."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from whywrong.core.classes import ClassList
from whywrong.core.errors import InputError

NAME_KEYS = ("classes", "class_names", "class_to_idx", "idx_to_class", "id2label", "label2id", "categories")
"""Keys and attributes under which models, configurations and data sets store their class names."""

WNID = re.compile(r"n\d{8}")
_FORMS = "a list of names in the order of the outputs, index -> name, or name -> index"
_NUMBERED = re.compile(r"(\d+)\s*[\s,:;]\s*([^\s\-,:;].*)")
_PLACEHOLDER = re.compile(r"LABEL_\d+")


def read_class_names(value: Any, where: str = "classes") -> ClassList:
    """Read class names from a list, an array, a mapping in either direction, or text.

    Args:
        value: A ``ClassList``; names in the order of the outputs (list, tuple, numpy array, pandas ``Index``, text with
            one name per line); records ``{"index", "name", "wnid"}``; index -> name or name -> index (mapping or
            pairs); or a mapping that holds one of these under a key such as ``id2label``.
        where: Name of what is read, for error messages.

    Returns:
        The classes, in the order of the outputs.

    Raises:
        InputError: The form is unknown; an index is missing or duplicated; a name is empty or not text.
    """
    if isinstance(value, ClassList):
        return value
    if isinstance(value, Mapping):
        return _from_mapping(value, where)
    if isinstance(value, (str, bytes)):
        text = _text(value, where)
        if "\n" not in text.strip():
            raise InputError(f"{where}: expected {_FORMS}, got the text {text[:60]!r}")
        return read_class_lines(text, where)
    if isinstance(value, (set, frozenset)):
        raise InputError(f"{where}: a set has no order; expected {_FORMS}")
    return _from_sequence(_listed(value, where), where)


def read_class_lines(text: str, where: str) -> ClassList:
    """Read one class per line, as a name, ``index name``, or ``wnid names``.

    Raises:
        InputError: A line is empty, or the numbers are not 0..K-1.
    """
    lines = [line.strip() for line in text.removeprefix("\ufeff").rstrip().splitlines()]
    for number, line in enumerate(lines, start=1):
        if not line:
            raise InputError(
                f"{where} line {number}: expected the name of class {number - 1}, got an empty line"
                if any(lines)
                else f"{where}: no class names"
            )
    if not lines:
        raise InputError(f"{where}: no class names")
    pairs = [(int(match[1]), match[2]) for match in map(_NUMBERED.fullmatch, lines) if match]
    numbers = {number for number, _ in pairs}
    # Numbers are indices if they count the lines; others, as in "1 cent", "2 cent", "5 cent", belong to the names.
    if len(pairs) == len(lines) and (0 in numbers or numbers == set(range(1, len(lines) + 1))):
        return _from_pairs(pairs, where)
    parts = [line.split(maxsplit=1) for line in lines]
    if all(len(part) == 2 and WNID.fullmatch(part[0]) for part in parts):  # the synset list of ImageNet
        return ClassList(tuple(part[1] for part in parts), tuple(part[0] for part in parts))
    return ClassList(tuple(lines))


def is_placeholder(classes: ClassList) -> bool:
    """Check if all names are placeholders of a library, such as ``LABEL_0``."""
    return all(_PLACEHOLDER.fullmatch(name) for name in classes.names)


def _listed(value: Any, where: str) -> list[Any]:
    to_list = getattr(value, "tolist", None)  # numpy arrays, pandas indices and columns
    if callable(to_list):
        value = to_list()
    if not isinstance(value, Iterable):
        raise InputError(f"{where}: expected {_FORMS}, got {type(value).__name__}")
    return list(value)


def _from_sequence(entries: list[Any], where: str) -> ClassList:
    if not entries:
        raise InputError(f"{where}: no class names; expected {_FORMS}")
    if all(isinstance(entry, (str, bytes)) for entry in entries):
        return ClassList(tuple(_name(entry, f"{where}, entry {i}") for i, entry in enumerate(entries)))
    if all(isinstance(entry, Mapping) for entry in entries):
        try:
            return ClassList.from_records(entries)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
    if all(isinstance(entry, (list, tuple)) for entry in entries):
        if all(len(entry) == 2 and (_index(entry[0]) is None) != (_index(entry[1]) is None) for entry in entries):
            return _from_pairs([_pair(first, second, where) for first, second in entries], where)
        if all(entry and all(isinstance(part, str) for part in entry) for entry in entries):
            return _from_pairs(list(enumerate(entries)), where)
    bad = next((i for i, entry in enumerate(entries) if not isinstance(entry, (str, bytes))), 0)
    raise InputError(f"{where}: expected {_FORMS}; entry {bad} is {entries[bad]!r}"[:300])


def _from_mapping(value: Mapping[Any, Any], where: str) -> ClassList:
    if not value:
        raise InputError(f"{where}: no class names; expected {_FORMS}")
    for key in NAME_KEYS:
        if isinstance(value.get(key), (Mapping, list, tuple)):
            return read_class_names(value[key], f"{where}, {key}")
    return _from_pairs([_pair(key, name, where) for key, name in value.items()], where)


def _pair(first: Any, second: Any, where: str) -> tuple[int, Any]:
    """Return the index and name of one entry of a mapping, in whichever order they are given."""
    # The value of type int is the index: {"7": 0} names the first class "7".
    if isinstance(first, str) and not isinstance(second, str) and (index := _index(second)) is not None:
        return index, first
    index = _index(first)
    if index is None and isinstance(first, str) and first.isascii() and first.isdecimal():
        index = int(first)  # JSON keys are text
    if index is None or _index(second) is not None:
        raise InputError(f"{where}: expected index -> name or name -> index, got {first!r}: {second!r}"[:300])
    return index, second


def _index(value: Any) -> int | None:
    if isinstance(value, bool) or not hasattr(value, "__index__"):  # numpy integers have __index__ too
        return None
    return int(value)


def _from_pairs(pairs: Sequence[tuple[int, Any]], where: str) -> ClassList:
    """Sort names by their indices, which must be 0..K-1 without duplicates."""
    by_index: dict[int, Any] = {}
    for index, name in pairs:
        if index in by_index:
            raise InputError(f"{where}: index {index} comes twice, for {by_index[index]!r} and {name!r}"[:300])
        by_index[index] = name
    last = len(by_index) - 1
    missing = next((index for index in range(last + 1) if index not in by_index), None)
    if missing is not None:
        raise InputError(
            f"{where}: {last + 1} classes must have the indices 0..{last}, but they run from {min(by_index)} to "
            f"{max(by_index)} and {missing} is missing"
        )
    names, wnids = [], []
    for index in range(last + 1):
        name, wnid = _named(by_index[index], f"{where}, index {index}")
        names.append(name)
        wnids.append(wnid)
    return ClassList(tuple(names), tuple(wnids) if all(wnids) else None)


def _named(value: Any, where: str) -> tuple[str, str]:
    """Return name and wnid (empty if unknown) of ``"cat"``, ``[wnid, name]``, ``[name, synonym ...]`` or a record."""
    if isinstance(value, Mapping) and "name" in value:
        return _name(value["name"], where), str(value.get("wnid", ""))
    if isinstance(value, (list, tuple)) and value:
        parts = [_name(part, where) for part in value]
        if len(parts) > 1 and WNID.fullmatch(parts[0]):
            return ", ".join(parts[1:]), parts[0]
        return ", ".join(parts), ""
    return _name(value, where), ""


def _name(value: Any, where: str) -> str:
    text = _text(value, where) if isinstance(value, bytes) else value
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"{where}: expected the name of a class, got {value!r}"[:300])
    return str(text)


def _text(value: str | bytes, where: str) -> str:
    try:
        return value.decode("utf-8") if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        raise InputError(f"{where}: the names are not UTF-8") from None
