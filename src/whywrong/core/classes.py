"""The classes of a classifier, and the match between labels of the data and classes of the model."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from whywrong.core.errors import InputError, UnmatchedLabelError


@dataclass(frozen=True, slots=True)
class ClassList:
    """Names, and WordNet ids where there are any, in the order of the logits."""

    names: tuple[str, ...]
    wnids: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.wnids is not None and len(self.wnids) != len(self.names):
            raise InputError(f"{len(self.names)} class names came with {len(self.wnids)} wnids")

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def from_records(cls, records: Sequence[Any]) -> ClassList:
        """From ``["cat", ...]`` or ``[{"index": 0, "name": "cat", "wnid": "n02123045"}, ...]``.

        Raises:
            InputError: A record is neither, or the indices are not 0..K-1.
        """
        if all(isinstance(record, str) for record in records):
            return cls(tuple(records))
        by_index = _by_index(records)
        if sorted(by_index) != list(range(len(by_index))):
            raise InputError(f"class indices must be 0..{len(by_index) - 1}, got {sorted(by_index)[:5]} ...")
        ordered = [by_index[i] for i in range(len(by_index))]
        wnids = tuple(str(r["wnid"]) for r in ordered) if all("wnid" in r for r in ordered) else None
        return cls(tuple(str(r["name"]) for r in ordered), wnids)


def _by_index(records: Sequence[Any]) -> dict[int, Mapping[str, Any]]:
    by_index: dict[int, Mapping[str, Any]] = {}
    for position, record in enumerate(records):
        index = record.get("index") if isinstance(record, Mapping) else None
        if isinstance(index, bool) or not isinstance(index, int) or "name" not in record or index in by_index:
            raise InputError(
                f'classes, entry {position}: expected {{"index": int, "name": str}}, each index once, got {record!r}'
            )
        by_index[index] = record
    return by_index


def match_labels(
    labels: Iterable[str],
    classes: ClassList,
    *,
    label_by: str | None = None,
    records: Sequence[Mapping[str, Any]] | None = None,
) -> dict[str, int]:
    """Map every label of the data to one class of the model.

    A label is an index, a wnid or a name. All labels are read in one and the same way; where two ways are complete
    and disagree, or a name stands for several classes, nothing is guessed.

    Args:
        labels: Distinct labels of the data, as written there.
        classes: Classes of the model.
        label_by: ``index``, ``wnid`` or ``name`` where the owner says so.
        records: Records of a ``classes.json`` beside the data (``index``, ``name`` and perhaps ``wnid``); they may
            cover only the classes of the data.

    Returns:
        Label to index in 0..K-1.

    Raises:
        InputError: A label maps to no class or to several; the message names it and the nearest class.
    """
    labels = sorted(set(labels))
    tables = _lookup_tables(classes, records)
    if label_by is not None:
        if label_by not in tables:
            raise InputError(
                f"labels can be matched by index, wnid or name, not by {label_by!r}"
                if label_by not in ("index", "wnid", "name")
                else f"labels cannot be matched by {label_by}: neither model nor classes.json carries one"
            )
        tables = {label_by: tables[label_by]}
    candidates = {
        way: {label: table[label] for label in labels}
        for way, table in tables.items()
        if all(label in table for label in labels)
    }
    single = {
        way: {label: next(iter(hits)) for label, hits in found.items()}
        for way, found in candidates.items()
        if all(len(hits) == 1 for hits in found.values())
    }
    if len({tuple(sorted(mapping.items())) for mapping in single.values()}) > 1:
        raise InputError(
            f"labels can be read as {' and as '.join(single)} with different results; say which with --label-by"
        )
    if single:
        return next(iter(single.values()))
    raise _no_match(labels, tables, classes)


def _lookup_tables(classes: ClassList, records: Sequence[Mapping[str, Any]] | None) -> dict[str, dict[str, set[int]]]:
    index = {str(i): {i} for i in range(len(classes))}
    wnid: dict[str, set[int]] = {}
    name: dict[str, set[int]] = {}
    for i, text in enumerate(classes.names):
        name.setdefault(text, set()).add(i)
    for i, text in enumerate(classes.wnids or ()):
        wnid.setdefault(text, set()).add(i)
    for i, record in _by_index(records or ()).items():
        if not 0 <= i < len(classes):
            raise InputError(f"classes.json names class {i}, the model has classes 0..{len(classes) - 1}")
        if classes.wnids is None and "wnid" in record:
            wnid.setdefault(str(record["wnid"]), set()).add(i)
        name.setdefault(str(record["name"]), set()).add(i)
    return {way: table for way, table in (("wnid", wnid), ("name", name), ("index", index)) if table}


def _no_match(labels: Sequence[str], tables: Mapping[str, Mapping[str, set[int]]], classes: ClassList) -> InputError:
    for label in labels:
        hits = set().union(*(table.get(label, set()) for table in tables.values()))
        if len(hits) > 1:
            return UnmatchedLabelError(
                f'class name "{label}" stands for classes {sorted(hits)} of the model; label these images by '
                "index or wnid",
                label,
            )
        if not hits:
            near = difflib.get_close_matches(label, [key for table in tables.values() for key in table], n=1)
            hint = f'; nearest: "{near[0]}"' if near else ""
            return UnmatchedLabelError(f'class "{label}" is not among the model\'s {len(classes)} classes{hint}', label)
    ways = ", ".join(tables)
    return InputError(f"the labels mix ways of naming a class ({ways}); use one of them throughout")
