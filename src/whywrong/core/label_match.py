"""Match labels of the data to classes of the model, without guessing; other spellings are reported."""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from whywrong.core.class_names import WNID
from whywrong.core.classes import ClassList, index_records
from whywrong.core.errors import InputError, UnmatchedLabelError

WAYS = ("wnid", "name", "index")
_SHOWN = 5  # labels shown in a note or a message

Hits = dict[str, set[int]]


def match_labels(
    labels: Iterable[str],
    classes: ClassList,
    *,
    label_by: str | None = None,
    records: Sequence[Mapping[str, Any]] | None = None,
) -> dict[str, int]:
    """Map every label of the data to one class of the model.

    All labels are read in the same way: as index (``7``, ``007``), wnid or name. If no way matches all of them exactly,
    a name may be the first synonym of a class, a synonym of one class only, or differ in case, underscores, hyphens and
    spaces; a wnid may be followed by a name (``n02085620-Chihuahua``). It is an error if two ways match all labels but
    disagree, if a name matches several classes, or if the records number the classes differently from the model.

    Args:
        labels: Distinct labels of the data, as written there.
        classes: Classes of the model.
        label_by: ``index``, ``wnid`` or ``name``; None tries all.
        records: Records of a ``classes.json`` beside the data (``index``, ``name`` and optionally ``wnid``); they may
            cover only the classes of the data.

    Returns:
        Label to index in 0..K-1.

    Raises:
        InputError: A label maps to no class or to several; the message names it and the nearest class.
    """
    labels = sorted(set(labels))
    vocabulary = _Vocabulary(classes, records)
    ways = vocabulary.ways(label_by)
    for lookup in (vocabulary.exact, vocabulary.relaxed):
        found = {way: {label: lookup(way, label) for label in labels} for way in ways}
        single = {
            way: {label: next(iter(hits)) for label, hits in table.items()}
            for way, table in found.items()
            if all(len(hits) == 1 for hits in table.values())
        }
        if len({tuple(sorted(mapping.items())) for mapping in single.values()}) > 1:
            raise InputError(
                f"labels can be read as {' and as '.join(single)} with different results; say which with --label-by"
            )
        if single:
            mapping = next(iter(single.values()))
            if label_by is None and set(single) == {"index"}:
                vocabulary.check_numbering()
            vocabulary.check_spelling(mapping)
            return mapping
    raise _no_match(labels, ways, vocabulary)


def find_class(text: str, classes: ClassList) -> int:
    """Find the class that a name, wnid or index means.

    Exact matches come first, in this order; then synonyms and other spellings.

    Raises:
        UnmatchedLabelError: It matches no class, or several.
    """
    vocabulary = _Vocabulary(classes, None)
    for lookup in (vocabulary.exact, vocabulary.relaxed):
        for way in ("name", "wnid", "index"):
            hits = lookup(way, text)
            if len(hits) > 1:
                raise _ambiguous(text, hits)
            if hits:
                return next(iter(hits))
    raise _no_match([text], WAYS, vocabulary)


def describe_respelled(
    mapping: Mapping[str, int], classes: ClassList, records: Sequence[Mapping[str, Any]] | None = None
) -> str | None:
    """Describe the labels that match their class by a synonym or another spelling.

    None if all labels match exactly.
    """
    vocabulary = _Vocabulary(classes, records)
    respelled = [
        f'"{label}" as "{classes.names[index]}"'
        for label, index in mapping.items()
        if not any(index in vocabulary.exact(way, label) for way in WAYS) and index not in vocabulary.short(label)
    ]
    if not respelled:
        return None
    shown = ", ".join(respelled[:_SHOWN]) + (" ..." if len(respelled) > _SHOWN else "")
    return f"{len(respelled)} of {len(mapping)} labels match a class by a synonym or another spelling: {shown}"


@dataclass(frozen=True)
class _Vocabulary:
    """All names, wnids and indices by which labels may refer to a class."""

    classes: ClassList
    records: Sequence[Mapping[str, Any]] | None

    def ways(self, label_by: str | None) -> list[str]:
        """Return the ways in which labels may be read."""
        if label_by is None:
            return [way for way in WAYS if way != "wnid" or self.wnids]
        if label_by not in WAYS:
            raise InputError(f"labels can be matched by index, wnid or name, not by {label_by!r}")
        if label_by == "wnid" and not self.wnids:
            raise InputError("labels cannot be matched by wnid: neither model nor classes.json carries one")
        return [label_by]

    @cached_property
    def names(self) -> list[list[str]]:
        """Names of each class for exact matches: the model's own, and that of ``classes.json``."""
        names = [[name] for name in self.classes.names]
        for index, record in self._by_index.items():
            names[index].append(str(record["name"]))
        return names

    @cached_property
    def wnids(self) -> Hits:
        """Classes of each wnid."""
        wnids = self.classes.wnids
        if wnids is None:
            known = ((str(r["wnid"]), i) for i, r in self._by_index.items() if "wnid" in r)
        else:
            known = ((wnid, i) for i, wnid in enumerate(wnids))
        return _collect(known)

    @cached_property
    def _by_index(self) -> dict[int, Mapping[str, Any]]:
        by_index = index_records(self.records or ())
        for index in by_index:
            if not 0 <= index < len(self.classes):
                raise InputError(f"classes.json names class {index}, the model has classes 0..{len(self.classes) - 1}")
        return by_index

    @cached_property
    def _exact_names(self) -> Hits:
        return _collect((name, i) for i, names in enumerate(self.names) for name in names)

    @cached_property
    def _short_names(self) -> Hits:
        """Classes of whole names and of first synonyms, as ``tabby`` of ``tabby, tabby cat``."""
        return _collect((name, i) for i, names in enumerate(self.names) for n in names for name in (n, _synonyms(n)[0]))

    @cached_property
    def all_names(self) -> Hits:
        """Classes of whole names, all synonyms, and aliases."""
        aliases = self.classes.aliases or ((),) * len(self.classes)
        known = ((n, i) for i, names in enumerate(self.names) for n in (*names, *aliases[i]))
        return _collect((name, i) for n, i in known for name in (n, *_synonyms(n)))

    @cached_property
    def _plain_short(self) -> Hits:
        return _respell(self._short_names)

    @cached_property
    def _plain_all(self) -> Hits:
        return _respell(self.all_names)

    def exact(self, way: str, label: str) -> set[int]:
        """Return the classes that a label matches exactly."""
        if way == "index":
            index = int(label) if label.isascii() and label.isdecimal() and len(label) <= 18 else -1
            return {index} if 0 <= index < len(self.classes) else set()
        return (self.wnids if way == "wnid" else self._exact_names).get(label, set())

    def short(self, label: str) -> set[int]:
        """Return the classes whose whole name or first synonym is the label."""
        return self._short_names.get(label, set())

    def relaxed(self, way: str, label: str) -> set[int]:
        """Return the classes that a label matches by a synonym or another spelling."""
        if way == "index" or (way == "wnid" and label in self.wnids):
            return self.exact(way, label)
        if way == "wnid":
            start = WNID.match(label.lower())
            rest = label[start.end() :] if start else ""
            return self.wnids.get(start[0], set()) if start and not rest[:1].isalnum() else set()
        lookups: tuple[Callable[[], set[int] | None], ...] = (
            lambda: self._short_names.get(label),
            lambda: self.all_names.get(label),
            lambda: self._plain_short.get(_plain(label)),
            lambda: self._plain_all.get(_plain(label)),
        )
        return next((hits for lookup in lookups if (hits := lookup())), set())

    def check_numbering(self) -> None:
        """Check that ``classes.json`` numbers the classes as the model does, for integer labels.

        The check fails if one name belongs to another class, or if half of the names or more are unknown to the model.

        Raises:
            InputError: The message names the first class whose names differ.
        """
        own = _Vocabulary(self.classes, None)
        differing: list[int] = []
        crossed = False
        for index, record in self._by_index.items() if self.classes.named else ():
            hits = own.wnids.get(str(record.get("wnid")), set()) or own.relaxed("name", str(record["name"]))
            if index not in hits:
                differing.append(index)
                crossed = crossed or bool(hits)
        if differing and (crossed or 2 * len(differing) >= len(self._by_index)):
            first = min(differing)
            raise InputError(
                f"the labels are whole numbers, and for {len(differing)} of {len(self._by_index)} classes the names in "
                f'classes.json and those of the model differ (class {first} is "{self._by_index[first]["name"]}" and '
                f'"{self.classes.names[first]}"): name the labels, mend classes.json, or pass --label-by index '
                '(label_by="index") if they count the classes as the model does'
            )

    def check_spelling(self, mapping: Mapping[str, int]) -> None:
        """Check that labels spelled differently from the model do not fit two classes.

        Raises:
            UnmatchedLabelError: As for ``Cardigan`` beside ``Golden_Retriever``: the dog Cardigan, or a cardigan?
        """
        named = [label for label in mapping if not any(self.exact(way, label) for way in ("wnid", "index"))]
        if all(label in self.all_names for label in named):
            return
        for label in named:
            hits = self._plain_short.get(_plain(label), set())
            if len(hits) > 1:
                raise _ambiguous(label, hits)


def _collect(known: Iterable[tuple[str, int]]) -> Hits:
    hits: Hits = {}
    for name, index in known:
        hits.setdefault(name, set()).add(index)
    return hits


def _respell(hits: Hits) -> Hits:
    return _collect((_plain(name), index) for name, indices in hits.items() for index in indices)


def _plain(name: str) -> str:
    """Normalise case, underscores, hyphens, repeated spaces and composed accents of a name."""
    return re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFKC", name).casefold()).strip()


def _synonyms(name: str) -> list[str]:
    """Split ``tabby, tabby cat`` into its two synonyms."""
    return [part for part in map(str.strip, name.split(",")) if part] or [name]


def _ambiguous(label: str, hits: set[int]) -> UnmatchedLabelError:
    return UnmatchedLabelError(
        f'class name "{label}" stands for classes {sorted(hits)} of the model; name it by index or wnid',
        label,
    )


def _no_match(labels: Sequence[str], ways: Sequence[str], vocabulary: _Vocabulary) -> InputError:
    for label in labels:
        hits = set().union(*(vocabulary.relaxed(way, label) for way in ways))
        if len(hits) > 1:
            return _ambiguous(label, hits)
        if not hits:
            count = len(vocabulary.classes)
            return UnmatchedLabelError(
                f'class "{label}" is not among the model\'s {count} classes{_hint(label, labels, vocabulary)}', label
            )
    return InputError(f"the labels mix ways of naming a class ({', '.join(ways)}); use one of them throughout")


def _hint(label: str, labels: Sequence[str], vocabulary: _Vocabulary) -> str:
    count = len(vocabulary.classes)
    if label.isascii() and label.isdecimal():
        numbers = [int(text) for text in labels if text.isascii() and text.isdecimal()]
        from_one = len(numbers) == len(labels) and max(numbers) == count and 0 not in numbers
        return f", which count from 0 to {count - 1}" + ("; these labels count from 1" if from_one else "")
    known = {_plain(name): name for name in (*vocabulary.all_names, *vocabulary.wnids)}
    near = difflib.get_close_matches(_plain(label), known, n=1)
    return f'; nearest: "{known[near[0]]}"' if near else ""
