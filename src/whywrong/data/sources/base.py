"""Base of all sources, a listing of entries and their bytes on demand."""

from __future__ import annotations

import hashlib
import json
import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from whywrong.core.classes import ClassList
from whywrong.core.data_facts import DataFacts
from whywrong.core.errors import DataError, InputError, UnmatchedLabelError
from whywrong.core.label_match import describe_respelled, match_labels
from whywrong.core.registry import SourceKind, lines, nearest, resolve
from whywrong.data.files import Judge, open_regular, path_bytes, to_text
from whywrong.data.formats import MAX_PIXELS, check_head
from whywrong.data.sources.boxes import BoxTable, BoxUse

_MAX_CLASSES_BYTES = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Entry:
    """One labelled entry in the listing of a source; its image has not been read.

    Attributes:
        key: Unique name in the source; bytes that are not UTF-8 become surrogate escapes.
        label: As written in the data; None without labels.
        size: Bytes of the file (of the pixels, for arrays); 0 if the file is missing.
        mtime_ns: Time of the last change, nanoseconds since 1970.
        box: (x_min, y_min, x_max, y_max) of the object, inclusive pixels of the original.
        mask: Location of the object's mask in the source.
        cause: Cause of the mistake, in words, if the data contains mistakes of known causes.
    """

    key: str
    label: str | None
    size: int
    mtime_ns: int
    box: tuple[int, int, int, int] | None = None
    mask: str | None = None
    cause: str | None = None

    @property
    def item_id(self) -> str:
        """First 20 hexadecimal digits of the SHA-256 of the key."""
        return hashlib.sha256(path_bytes(self.key)).hexdigest()[:20]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceSpec:
    """Information needed to open the data again, in another process or later.

    Attributes:
        kind: ``classes``, ``flat``, ``table``, ``arrays``, ``tar``, ``hf``, ``planted``; or ``object``, which cannot be
            opened from here and must be given again by the user.
        path: Absolute path of a folder or file; for ``hf`` also the name of a data set, for ``planted`` that of a set.
        manifest, boxes: Absolute paths of files, or None.
        label_by: ``index``, ``wnid`` or ``name`` if the user states how labels are read.
        follow_links: Whether symbolic links that leave the folder are followed.
        split: Part of a Hugging Face data set.
        image, label: Columns of a Hugging Face data set or a manifest, if the user names them.
    """

    kind: str
    path: str
    manifest: str | None = None
    boxes: str | None = None
    label_by: str | None = None
    follow_links: bool = False
    split: str | None = None
    image: str | None = None
    label: str | None = None

    def open(self) -> Source:
        """Open the source without scanning its listing.

        Raises:
            DataError: The data no longer exists, or no kind of data has that name.
        """
        known = lines(SourceKind)
        if self.kind not in known:
            raise DataError(f'unknown kind of data "{self.kind}"{nearest(self.kind, known)}; is a plug-in missing?')
        return resolve(known[self.kind].source)(self)

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values for ``run.json``, which ``SourceSpec(**d)`` reads."""
        return asdict(self)


def spread(entries: Iterable[Entry], total: int, count: int) -> Iterator[Entry]:
    """Select at most ``count`` of ``total`` entries, evenly spread and in order.

    The first entry is included.
    """
    chosen = 0
    for position, entry in enumerate(entries):
        if chosen < count and position >= chosen * total // count:
            chosen += 1
            yield entry


def judge_image(name: str, max_pixels: int = MAX_PIXELS) -> Judge:
    """Build a check for ``read_regular`` that refuses files that cannot be images.

    Images of more than ``max_pixels`` are refused, too; see :func:`whywrong.data.files.read_regular`.
    """
    suffix = os.path.splitext(name)[1].lower()
    return lambda head, size: check_head(head, size, suffix, max_pixels)


class Source(ABC):
    """Labelled images in a fixed order.

    ``entries`` streams them; ``scan`` reads the listing once and checks everything.

    Attributes:
        spec: Information needed to open the data again.
        facts: What the data states about the model for which it is made.
    """

    def __init__(self, spec: SourceSpec) -> None:
        self.spec = spec
        self.facts = DataFacts()
        self._ignored: Counter[str] = Counter()
        self._warnings: list[str] = []
        self._labels: dict[str, int] = {}
        self._count = 0
        self._scanned = False
        self._respelled: str | None = None  # respelled labels of the last match

    @classmethod
    def from_name(cls, asked: SourceSpec) -> SourceSpec:
        """Return the spec of ``scheme:NAME``, with NAME as its path."""
        return asked

    @classmethod
    def recognise(cls, asked: SourceSpec) -> SourceSpec | None:
        """Return the spec of a file or folder.

        Its path is absolute. Returns None if it is of another kind.
        """
        return asked

    def entries(self) -> Iterator[Entry]:
        """Yield all entries, in the same order every time."""
        return self._with_boxes(Counter(), None)

    @abstractmethod
    def _entries(self, ignored: Counter[str]) -> Iterator[Entry]:
        """Yield the entries without the boxes of a boxes file, and count skipped files in ``ignored``."""

    @abstractmethod
    def read(self, entry: Entry, max_pixels: int = MAX_PIXELS) -> bytes | np.ndarray:
        """Read the bytes of the image file, or the pixels of an array.

        Pixels are (H, W, C) uint8.

        Args:
            entry: From the listing.
            max_pixels: Maximum width x height; larger files are refused early.

        Raises:
            BadItemError: The file is missing, unreadable, no image, too large, or outside of the data.
        """

    @abstractmethod
    def locate(self, label: str) -> str:
        """Return where ``label`` first occurs, such as ``labels.csv line 41``."""

    def read_mask(self, entry: Entry) -> bytes:
        """Read the bytes of the object's mask.

        Raises:
            BadItemError: The mask cannot be read.
        """
        raise DataError(f"this source holds no masks ({entry.key})")

    def stat(self, entry: Entry) -> tuple[int, int] | None:
        """Return the current (size, mtime_ns) of an entry.

        Returns None if its file has vanished.
        """
        return entry.size, entry.mtime_ns

    def close(self) -> None:  # noqa: B027  most sources hold nothing open
        """Close open files, which reading opens again."""

    def scan(self) -> None:
        """Scan the listing once for counts, labels and warnings.

        Raises:
            DataError: There is nothing to read, or the listing is invalid.
        """
        if self._scanned:
            return
        self._ignored.clear()
        self._warnings.clear()
        used = None if self._boxes is None else BoxUse(self._boxes)
        labels: Counter[str | None] = Counter(entry.label for entry in self._with_boxes(self._ignored, used))
        self._scanned = True
        self._count = labels.total()
        unlabelled = labels.pop(None, 0)
        self._labels = {str(label): count for label, count in labels.items()}
        self._after_scan()
        if self._count == 0:
            raise DataError(self._empty_text())
        if used is not None:
            self._warnings += used.warnings()
        if unlabelled:
            self._warnings.append(
                f"{unlabelled} of {self._count} images have no label: they are predicted, but not judged right or wrong"
            )

    def __len__(self) -> int:
        """Number of entries."""
        self.scan()
        return self._count

    @property
    def label_counts(self) -> dict[str, int]:
        """Number of entries per label, in order of the label."""
        self.scan()
        return {label: self._labels.get(label, 0) for label in self.class_names}

    @property
    def class_names(self) -> tuple[str, ...]:
        """Distinct labels, sorted; folders without images are classes too."""
        self.scan()
        return tuple(sorted(self._labels))

    @property
    def ignored(self) -> dict[str, int]:
        """Number of skipped files, by reason."""
        self.scan()
        return dict(sorted(self._ignored.items()))

    @property
    def warnings(self) -> tuple[str, ...]:
        """Warnings about the data."""
        self.scan()
        return (*self.facts.remarks, *self._warnings, *([self._respelled] if self._respelled else []))

    @cached_property
    def classes_records(self) -> list[Any] | None:
        """Content of a ``classes.json`` in the image folder or its parent; None if missing.

        Raises:
            DataError: The file is not JSON, or holds no list.
        """
        folder = self._classes_folder()
        if folder is None:
            return None
        for place in (folder, folder.parent):
            path = place / "classes.json"
            if path.is_file():
                return _read_records(path)
        return None

    @property
    def title(self) -> str:
        """Description of the data in messages, as given by the user, otherwise its path."""
        return self.facts.title or to_text(self.spec.path)

    def match_labels(self, classes: ClassList) -> dict[str, int]:
        """Map every label of the data to one class of the model.

        Afterwards, :attr:`warnings` names labels that were matched by another spelling.

        Raises:
            InputError: As :func:`whywrong.core.label_match.match_labels`; the message begins with the location of the
                label in the data.
        """
        records = _mappings(self.classes_records)
        try:
            mapping = match_labels(
                (label for label, count in self.label_counts.items() if count),
                classes,
                label_by=self.spec.label_by,
                records=records,
            )
        except UnmatchedLabelError as error:
            raise InputError(f"{self.locate(error.label)}: {error}") from None
        self._respelled = describe_respelled(mapping, classes, records)
        return mapping

    def _with_boxes(self, ignored: Counter[str], used: BoxUse | None) -> Iterator[Entry]:
        table = self._boxes
        if table is None:
            yield from self._entries(ignored)
            return
        for entry in self._entries(ignored):
            row = table.find(entry.key)
            if row is None:
                yield entry
                continue
            if used is not None:
                used.add(row, entry.key)
            yield replace(entry, box=table.box(row))

    @cached_property
    def _boxes(self) -> BoxTable | None:
        return None if self.spec.boxes is None else BoxTable.load(self.spec.boxes)

    def _after_scan(self) -> None:  # noqa: B027  most sources have nothing to add
        """Add warnings that need the whole listing."""

    def _classes_folder(self) -> Path | None:
        path = Path(self.spec.path)
        return path if path.is_dir() else path.parent

    def _empty_text(self) -> str:
        passed = ", ".join(f"{count} x {reason}" for reason, count in sorted(self._ignored.items()))
        return f"{to_text(self.spec.path)}: no images found" + (f" (passed over: {passed})" if passed else "")


def _read_records(path: Path) -> list[Any]:
    with open_regular(path_bytes(str(path))) as file:
        data = file.read(_MAX_CLASSES_BYTES + 1)
    if len(data) > _MAX_CLASSES_BYTES:
        raise DataError(f"{path}: larger than {_MAX_CLASSES_BYTES >> 20} MiB, not a list of classes")
    try:
        records = json.loads(data.decode("utf-8-sig"))
    except json.JSONDecodeError as error:
        raise DataError(f"{path} line {error.lineno}: not JSON: {error.msg}") from None
    except (UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path}: not JSON: {error}") from None
    if isinstance(records, dict):  # in either direction, and possibly of some classes only
        to_index = all(isinstance(value, int) for value in records.values())
        pairs = [(index, name) if to_index else (name, index) for name, index in records.items()]
        try:
            records = [{"index": int(index), "name": name} for index, name in pairs if isinstance(name, str)]
        except ValueError:
            records = []
        if len(records) < len(pairs):
            records = None
    if not isinstance(records, list) or not records:
        raise DataError(f"{path}: expected a list of names, index -> name, or name -> index")
    return records


def _mappings(records: list[Any] | None) -> list[dict[str, Any]] | None:
    if records is not None and all(isinstance(name, str) for name in records):
        return [{"index": index, "name": name} for index, name in enumerate(records)]
    return records
