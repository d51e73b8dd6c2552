"""The classes of a classifier, with names, WordNet ids and aliases, in the order of the logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from whywrong.core.errors import InputError


@dataclass(frozen=True, slots=True)
class ClassList:
    """Names, WordNet ids and aliases of the classes, in the order of the logits.

    Attributes:
        names: One name per class, as shown in reports.
        wnids: One WordNet id per class; None if unknown.
        aliases: Further names per class that labels may use; each may hold several synonyms separated by commas. None
            if there are no aliases.

    Example:
        >>> import whywrong as ww
        >>> ww.ClassList(("cat", "dog")).names[1]
        'dog'
    """

    names: tuple[str, ...]
    wnids: tuple[str, ...] | None = None
    aliases: tuple[tuple[str, ...], ...] | None = None

    def __post_init__(self) -> None:
        for what, given in (("wnids", self.wnids), ("tuples of aliases", self.aliases)):
            if given is not None and len(given) != len(self.names):
                raise InputError(f"{len(self.names)} class names came with {len(given)} {what}")

    def __len__(self) -> int:
        return len(self.names)

    @property
    def named(self) -> bool:
        """Whether the classes have real names, not just the numbers 0..K-1."""
        return self.wnids is not None or self.names != tuple(str(index) for index in range(len(self)))

    @classmethod
    def from_records(cls, records: Sequence[Any]) -> ClassList:
        """Read classes from a list of names or of records.

        The forms are ``["cat", ...]`` and ``[{"index": 0, "name": "cat", "wnid": "n02123045"}, ...]``.

        Raises:
            InputError: A record has another form, or the indices are not 0..K-1.
        """
        if all(isinstance(record, str) for record in records):
            return cls(tuple(records))
        by_index = index_records(records)
        if sorted(by_index) != list(range(len(by_index))):
            raise InputError(f"class indices must be 0..{len(by_index) - 1}, got {sorted(by_index)[:5]} ...")
        ordered = [by_index[i] for i in range(len(by_index))]
        wnids = tuple(str(r["wnid"]) for r in ordered) if all("wnid" in r for r in ordered) else None
        return cls(tuple(str(r["name"]) for r in ordered), wnids)


def index_records(records: Sequence[Any]) -> dict[int, Mapping[str, Any]]:
    """Map records ``{"index": int, "name": str}`` by their index.

    Raises:
        InputError: A record has another form, or an index is duplicated.
    """
    by_index: dict[int, Mapping[str, Any]] = {}
    for position, record in enumerate(records):
        index = record.get("index") if isinstance(record, Mapping) else None
        if isinstance(index, bool) or not isinstance(index, int) or "name" not in record or index in by_index:
            raise InputError(
                f'classes, entry {position}: expected {{"index": int, "name": str}}, each index once, got {record!r}'
            )
        by_index[index] = record
    return by_index
