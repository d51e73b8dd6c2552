"""Batches for the Python API, with images in [0, 1], classes and items."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from whywrong.core.classes import ClassList
from whywrong.core.errors import BadItemError, DataError, InputError
from whywrong.core.input_spec import InputSpec
from whywrong.data.decoding import DecodeOptions, decode, from_array
from whywrong.data.files import to_text
from whywrong.data.items import LoadedItem, load_item
from whywrong.data.objects.opening import open_any
from whywrong.data.sources import Entry, Source
from whywrong.data.sources.base import spread


@dataclass(frozen=True, slots=True, eq=False)
class FailedItem:
    """An item that could not be used, with the reason."""

    entry: Entry
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """One batch of images.

    Attributes:
        x: (B, C, H, W), float32, in [0, 1].
        y: (B,), int64, class of each image; -1 without a label.
        items: Items of the rows.
        failed: Items in this part of the listing that could not be used.
    """

    x: Tensor
    y: Tensor
    items: tuple[LoadedItem, ...]
    failed: tuple[FailedItem, ...]


class Images:
    """Batches of a source; every loop over it starts from the beginning.

    Attributes:
        source: Source of the images.
        spec: Model input to which the images are converted.
        label_map: Maps a label to its class.
    """

    def __init__(
        self,
        source: Source,
        spec: InputSpec | None,
        label_map: dict[str, int],
        batch_size: int,
        options: DecodeOptions,
        limit: int | None = None,
    ) -> None:
        self.source = source
        self.spec = spec or _native_spec(source, options)
        self.label_map = label_map
        self._native = spec is None
        self._batch_size = batch_size
        self._options = options
        self._limit = limit

    def __len__(self) -> int:
        """Number of batches."""
        count = len(self.source) if self._limit is None else min(self._limit, len(self.source))
        return math.ceil(count / self._batch_size)

    def __iter__(self) -> Iterator[Batch]:
        entries = self.source.entries()
        if self._limit is not None:
            entries = spread(entries, len(self.source), self._limit)  # neighbours are often of one class
        while chunk := list(islice(entries, self._batch_size)):
            yield self._batch(chunk)

    def _batch(self, entries: list[Entry]) -> Batch:
        items: list[LoadedItem] = []
        failed: list[FailedItem] = []
        for entry in entries:
            try:
                item = load_item(self.source, entry, self.spec, self._options)
            except BadItemError as error:
                failed.append(FailedItem(entry, error.reason))
                continue
            if self._native and (item.geometry.width, item.geometry.height) != (self.spec.width, self.spec.height):
                raise InputError(
                    f"{to_text(entry.key)} is {item.geometry.width} x {item.geometry.height}, the first image "
                    f"{self.spec.width} x {self.spec.height}; pass spec, the input of the classifier"
                )
            items.append(item)
        return Batch(
            to_tensor([item.pixels for item in items], self.spec),
            torch.tensor([self._label(item.entry) for item in items], dtype=torch.int64),
            tuple(items),
            tuple(failed),
        )

    def _label(self, entry: Entry) -> int:
        return -1 if entry.label is None else self.label_map[entry.label]


def to_tensor(pixels: list[np.ndarray], spec: InputSpec) -> Tensor:
    """Stack (C, H, W) uint8 pixels to (B, C, H, W) float32 in [0, 1]."""
    if not pixels:
        return torch.zeros((0, spec.channels, spec.height, spec.width))
    return torch.from_numpy(np.stack(pixels)).to(torch.float32).div_(255)


def load_images(
    path: Any,
    *,
    spec: InputSpec | None = None,
    classes: ClassList | None = None,
    batch_size: int = 64,
    options: DecodeOptions | None = None,
    limit: int | None = None,
    **source_options: Any,
) -> Images:
    """Load labelled images as batches.

    Args:
        path: As in :func:`whywrong.data.objects.opening.open_any`: a path, a data set in memory, or an open source.
        spec: Input of the model, ``classifier.spec``; if None, all images must have the size of the first.
        classes: Classes of the model, to which labels are matched. If None, labels are read by the ``classes.json``
            beside the data, otherwise as indices if all are whole numbers, otherwise as positions among the sorted
            labels.
        batch_size: Images per batch, at least 1.
        options: Decoding options.
        limit: Maximum number of items, at least 1, evenly spread over the listing; None takes all.
        source_options: As for :func:`whywrong.data.objects.opening.open_any`.

    Returns:
        An iterable of :class:`Batch`.

    Raises:
        DataError: The data set cannot be read.
        InputError: A label belongs to no class, or an argument is not positive.

    Example:
        >>> import torch, whywrong as ww
        >>> images = ww.load_images((torch.rand(5, 3, 64, 64), torch.arange(5)), batch_size=2)
        >>> [len(batch.y) for batch in images]
        [2, 2, 1]
    """
    for name, value in (("batch_size", batch_size), ("limit", limit)):
        if value is not None and value < 1:
            raise InputError(f"{name} must be at least 1, got {value}")
    options = options or DecodeOptions()
    source = open_any(path, **source_options)
    return Images(source, spec, _label_map(source, classes), batch_size, options, limit)


def _label_map(source: Source, classes: ClassList | None) -> dict[str, int]:
    if classes is not None:
        return source.match_labels(classes)
    names = source.class_names
    stated = source.facts.classes
    if stated is not None and set(names) <= set(stated):
        return {name: index for index, name in enumerate(stated)}
    records = source.classes_records
    if records is not None:
        by_label: dict[str, int] = {}
        for position, record in enumerate(records):
            if isinstance(record, str):
                by_label[record] = position
            else:
                by_label.update(
                    {str(record[way]): record["index"] for way in ("index", "wnid", "name") if way in record}
                )
        if all(name in by_label for name in names):
            return {name: by_label[name] for name in names}
    if all(name.isdecimal() for name in names):
        return {name: int(name) for name in names}
    return {name: position for position, name in enumerate(names)}


def _native_spec(source: Source, options: DecodeOptions) -> InputSpec:
    for entry in source.entries():
        try:
            data = source.read(entry, options.max_pixels)
            first = from_array(data) if isinstance(data, np.ndarray) else decode(data, options, name=entry.key)
        except BadItemError:
            continue
        channels = 1 if isinstance(data, np.ndarray) and first.image.mode == "L" else 3
        return InputSpec(channels=channels, height=first.height, width=first.width)
    raise DataError(f"{source.title}: no image can be decoded")
