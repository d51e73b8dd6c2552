"""Data set in memory as a source whose items are named by number and content, so that a run can be resumed."""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from whywrong.core.data_facts import DataFacts
from whywrong.core.errors import BadItemError, DataError, InputError
from whywrong.data.formats import MAX_PIXELS
from whywrong.data.objects.items import Items
from whywrong.data.objects.pixels import FloatRange, Raw, Scale, digest, raw_image
from whywrong.data.objects.samples import Key, Parts, find_parts, read_label
from whywrong.data.sources.base import Entry, Source, SourceSpec

KEPT = 2**30  # bytes of images kept in memory between two passes
_UNREADABLE = "unreadable"


class ObjectSource(Source):
    """Samples of a Python object as a source.

    The key of number 7 is ``7-`` and 12 digits of a hash of its content.

    It exists in this process only. If the same images and labels are given again, in whatever object, it is the same
    source.

    Args:
        items: The samples.
        columns: Key or position of image and label in a sample, if the user gives it.
        label_by: How labels are read.
        stated: Normalisation of float images, if the user or a transform states it.
        model: Normalisation of the model; used only if it provably leads back to 8-bit images.

    Attributes:
        items: The samples.
        scale: Conversion of float images to values in [0, 1].
    """

    def __init__(
        self,
        items: Items,
        *,
        columns: tuple[Key | None, Key | None] = (None, None),
        label_by: str | None = None,
        stated: Scale | None = None,
        model: Scale | None = None,
    ) -> None:
        super().__init__(SourceSpec(kind="object", path=items.title, label_by=label_by))
        self.items = items
        self._title = items.title
        self.scale = Scale()
        self._columns = columns
        self._parts: Parts | None = None
        self._lock = threading.RLock()  # data sets expect one reader per process
        self._kept: dict[int, Raw] = {}
        self._kept_bytes = 0
        self._reasons: dict[int, str] = {}
        self._shapes: set[tuple[int, ...]] = set()
        self._floats = FloatRange()
        self._stated, self._model = stated, model
        self._listed = self._list()
        self.facts = self._find_facts()

    def _entries(self, ignored: Counter[str]) -> Iterator[Entry]:
        return iter(self._listed)

    def read(self, entry: Entry, max_pixels: int = MAX_PIXELS) -> bytes | np.ndarray:
        """Read the bytes of an image file, or pixels (H, W, C) uint8.

        Raises:
            BadItemError: The sample cannot be read, or has changed since the source was opened.
        """
        number, content = int(entry.key.partition("-")[0]), entry.key.rpartition("-")[2]
        if number in self._reasons:
            raise BadItemError(self._reasons[number])
        raw = self._kept.get(number)
        if raw is None:
            raw = raw_image(self._split(self._get(number), number)[0])
            if digest(raw) != content:
                raise BadItemError("the data set gave another image than before; its transform seems to be random")
        if isinstance(raw, np.ndarray) and raw.shape[0] * raw.shape[1] > max_pixels:
            raise BadItemError(f"too many pixels: {raw.shape[1]} x {raw.shape[0]}, the cap is {max_pixels}")
        return raw if isinstance(raw, bytes) or raw.dtype == np.uint8 else self.scale.to_8bit(raw)

    def locate(self, label: str) -> str:
        """Return the first item with the label."""
        number = next((n for n, entry in enumerate(self._listed) if entry.label == label), None)
        return self._title if number is None else f"{self._title}, item {number}"

    def _classes_folder(self) -> Path | None:
        return None

    def _empty_text(self) -> str:
        return f"{self._title}: it holds no samples"

    def _after_scan(self) -> None:
        self._labels = dict.fromkeys(self.items.names or (), 0) | self._labels

    # The single pass that builds the listing.

    def _list(self) -> list[Entry]:
        if self.items.stated.random:
            raise InputError(
                f"{self._title}: its transform draws random numbers ({', '.join(self.items.stated.random)}), so that "
                "an image is another one each time; give the data set the transform of evaluation"
            )
        entries: list[Entry] = []
        for number, sample in self._samples():
            entries.append(self._entry(number, sample))
        self._refuse_useless(entries)
        self._compare(entries)
        self.scale, notes = self._floats.settle(self._stated, self._model)
        self.items.notes += notes
        for number, raw in self._kept.items():
            if isinstance(raw, np.ndarray) and raw.dtype != np.uint8 and number not in self._reasons:
                try:
                    self._kept[number] = self.scale.to_8bit(raw)
                except BadItemError as error:
                    self._reasons[number] = error.reason
        self._refuse_useless(entries)
        content = hashlib.sha256("\n".join(f"{entry.key} {entry.label}" for entry in entries).encode()).hexdigest()
        self.spec = SourceSpec(kind="object", path=f"object:{content[:32]}", label_by=self.spec.label_by)
        return entries

    def _find_facts(self) -> DataFacts:
        """Collect what the data state about the model input; float images are taken as the input itself."""
        prepared = self._floats.example is not None
        size = None
        if len(self._shapes) == 1 and () not in self._shapes:
            height, width, channels = next(iter(self._shapes))
            size = (channels, height, width)
        scale = self.scale if self.scale.mean is not None else self._stated or Scale()
        return DataFacts(
            title=f"{self._title}, {len(self._listed):,} items",
            classes=self.items.names,
            spec=self.items.stated.spec,
            size=size,
            prepared=prepared,
            mean=scale.mean,
            std=scale.std,
            remarks=tuple(self.items.notes),
        )

    def _samples(self) -> Iterator[tuple[int, Any]]:
        if self.items.count is None:
            yield from enumerate(self.items.stream)
            return
        for number in range(self.items.count):
            yield number, None

    def _entry(self, number: int, sample: Any) -> Entry:
        """List one sample; an unreadable one becomes an item with the reason."""
        streamed = self.items.count is None
        try:
            image, label = self._split(sample if streamed else self._get(number), number)
            raw = raw_image(image)
        except BadItemError as error:
            self._reasons[number] = error.reason
            return Entry(f"{number}-{_UNREADABLE}", None, 0, 0)
        label = self._label(label, number)
        size = len(raw) if isinstance(raw, bytes) else raw.nbytes
        if isinstance(raw, np.ndarray):
            self._shapes.add(raw.shape)
            if raw.dtype != np.uint8:
                self._floats.add(raw)
        else:
            self._shapes.add(())
        if self._kept_bytes + size <= KEPT:
            self._kept[number] = raw
            self._kept_bytes += size
        elif streamed:
            raise DataError(
                f"{self._title} is a stream of more than {KEPT >> 20} MiB ({number} images so far), which is not kept; "
                "give a data set with __getitem__ and __len__, or a folder"
            )
        return Entry(f"{number}-{digest(raw)}", label, size, 1)

    def _get(self, number: int) -> Any:
        with self._lock:
            try:
                return self.items.get(number)
            except BadItemError:
                raise
            except Exception as error:
                text = (str(error).strip().splitlines() or [""])[0][:200]
                raise BadItemError(f"the data set raised {type(error).__name__}: {text}") from error

    def _split(self, sample: Any, number: int) -> tuple[Any, Any]:
        if self._parts is None:
            image, label = self._columns
            image = self.items.image if image is None else image
            label = self.items.label if label is None else label
            self._parts, notes = find_parts(sample, f"{self._title}, item {number}", image, label)
            self.items.notes += notes
        return self._parts.split(sample)

    def _label(self, value: Any, number: int) -> str | None:
        if self._parts is None or self._parts.label is None:
            return None
        if self.items.unlabelled is not None and (value is None or value == self.items.unlabelled):
            return None
        return read_label(value, self.items.names, f"{self._title}, item {number}")

    def _refuse_useless(self, entries: list[Entry]) -> None:
        """Refuse a data set without any usable image."""
        if entries and len(self._reasons) == len(entries):
            raise DataError(f"{self._title}: none of its {len(entries)} items can be used; item 0: {self._reasons[0]}")

    def _compare(self, entries: list[Entry]) -> None:
        """Refuse a data set whose second pass gives different images."""
        if self.items.count is None or not entries:
            return
        for number in sorted({0, len(entries) // 2, len(entries) - 1} - self._reasons.keys()):
            again = raw_image(self._split(self._get(number), number)[0])
            if digest(again) != entries[number].key.rpartition("-")[2]:
                raise InputError(
                    f"{self._title}: item {number} is another image each time it is asked for; take the random steps "
                    "out of its transform"
                )
