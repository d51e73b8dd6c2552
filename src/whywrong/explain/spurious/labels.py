"""A person's labels of the components, a CSV file whose rows are all checked."""

from __future__ import annotations

import csv
import difflib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from whywrong.core.classes import ClassList
from whywrong.core.csv_cells import guard_cell, plain_cell
from whywrong.core.errors import InputError
from whywrong.core.label_match import find_class

COLUMNS = ("class", "component", "label")
WORDS = ("spurious", "core", "unsure")


@dataclass(frozen=True, slots=True)
class Labels:
    """Labels of components by a person.

    Attributes:
        words: ``spurious``, ``core`` or ``unsure`` by (class index, number of the component from 0).
        path: The file they were read from.
    """

    words: Mapping[tuple[int, int], str]
    path: Path | None = None

    @property
    def spurious(self) -> dict[int, list[int]]:
        """Numbers of the spurious components, from 0, by class index."""
        found: dict[int, list[int]] = {}
        for (index, number), word in sorted(self.words.items()):
            if word == "spurious":
                found.setdefault(index, []).append(number)
        return found


def parse_labels(
    text: str, path: Path, classes: ClassList, components: Mapping[int, int], basis: str | None = None
) -> Labels:
    """Read the text of a file of labels.

    It has the columns ``class`` (name, wnid or index), ``component`` (from 1) and ``label``.

    A column ``basis``, written by the page, identifies the search that the numbers belong to. Other columns are
    ignored, and rows with an empty label count as not labelled.

    Args:
        text: The text.
        path: The file it was read from, for messages.
        classes: Classes of the model.
        components: Number of components by class index.
        basis: Identity of this search; None checks nothing.

    Raises:
        InputError: A row breaks the contract; the message names file and line.
    """
    rows = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    words: dict[tuple[int, int], str] = {}
    lines: dict[tuple[int, int], int] = {}
    try:
        missing = [name for name in COLUMNS if name not in (rows.fieldnames or ())]
        if missing:
            raise InputError(f'{path} line 1: no column "{missing[0]}"; needed: {", ".join(COLUMNS)}')
        for row in rows:
            where = f"{path} line {rows.line_num}"
            if not (row["label"] or "").strip():
                continue
            place, word = _row(row, where, classes, components, basis)
            if place in words and words[place] != word:
                raise InputError(
                    f'{where}: class "{row["class"]}" component {place[1] + 1} is "{word}" here and '
                    f'"{words[place]}" in line {lines[place]}'
                )
            words[place], lines[place] = word, rows.line_num
    except csv.Error as error:
        raise InputError(f"{path} line {rows.line_num}: not CSV ({error})") from None
    return Labels(words, path)


def _row(
    row: Mapping[str, str | None], where: str, classes: ClassList, components: Mapping[int, int], basis: str | None
) -> tuple[tuple[int, int], str]:
    if basis is not None and row.get("basis") not in (None, "", basis):
        raise InputError(
            f"{where}: this label belongs to another search (basis {row['basis']}, here {basis}): model, reference "
            "images or settings differ, and the numbers of components with them; label the new page"
        )
    try:
        index = find_class(plain_cell((row["class"] or "").strip()), classes)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    if index not in components:
        raise InputError(f'{where}: class "{classes.names[index]}" has no components here; it was left out')
    text = (row["component"] or "").strip()
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= components[index]):
        raise InputError(f'{where}: component must be a number in 1..{components[index]}, got "{text}"')
    word = (row["label"] or "").strip().lower()
    if word not in WORDS:
        near = difflib.get_close_matches(word, WORDS, n=1)
        hint = f'; nearest: "{near[0]}"' if near else ""
        raise InputError(f'{where}: label must be {", ".join(WORDS)}, got "{word}"{hint}')
    return (index, int(text) - 1), word


def labels_text(names: Sequence[str], labels: Labels, basis: str) -> bytes:
    """Write the file of labels of a search, whose class names are ``names``."""
    lines = [
        f"{_quoted(names[index])},{number + 1},{word},{basis}\n"
        for (index, number), word in sorted(labels.words.items())
    ]
    return b"class,component,label,basis\n" + "".join(lines).encode("utf-8", "surrogateescape")


def _quoted(text: str) -> str:
    return '"' + guard_cell(text).replace('"', '""') + '"'
