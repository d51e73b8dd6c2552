"""Images in an ``.npz``: ``images`` uint8 (N, H, W), (N, H, W, 1) or (N, H, W, 3) and ``labels`` (N,)."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from functools import cached_property

import numpy as np

from whywrong.core.errors import BadItemError, DataError
from whywrong.data.files import path_bytes
from whywrong.data.sources.base import Entry, Source, SourceSpec
from whywrong.data.sources.npy import Archive

_LABEL_CHUNK = 65_536


class ArraySource(Source):
    """Rows of an array; the key of row 17 is ``images[17]``."""

    def __init__(self, spec: SourceSpec) -> None:
        super().__init__(spec)
        self._archive = Archive(spec.path)
        images = self._archive.array("images")
        if images is None:
            names = ", ".join(sorted(self._archive.members)) or "none"
            raise DataError(f"{self._archive.name}: no array named images; its members are {names[:300]}")
        if images.dtype != np.uint8 or len(images.shape) not in (3, 4) or images.shape[3:] not in ((), (1,), (3,)):
            raise DataError(
                f"{images.where}: expected uint8 (N, H, W), (N, H, W, 1) or (N, H, W, 3), "
                f"got {images.dtype} {images.shape}"
            )
        if 0 in images.shape[1:]:
            raise DataError(f"{images.where}: images without pixels, shape {images.shape}")
        self._images = images

    @cached_property
    def _labels_text(self) -> list[str] | None:
        """Labels as text, in order; few distinct strings, each held once."""
        reader = self._archive.array("labels")
        if reader is None:
            return None
        if len(reader.shape) != 1 or reader.dtype.kind not in "iuUSfb":
            raise DataError(f"{reader.where}: expected (N,) whole numbers or text, got {reader.dtype} {reader.shape}")
        if len(reader) != len(self._images):
            raise DataError(f"{self._archive.name}: {len(self._images)} images came with {len(reader)} labels")
        texts: list[str] = []
        shared: dict[str, str] = {}
        try:
            for start in range(0, len(reader), _LABEL_CHUNK):
                chunk = reader.rows(start, start + _LABEL_CHUNK)
                _check_numbers(chunk, start, reader.where)
                texts += [shared.setdefault(text, text) for text in map(_text, chunk.tolist())]
        except BadItemError as error:
            raise DataError(f"{reader.where}: {error.reason}") from None
        return texts

    def _entries(self, ignored: Counter[str]) -> Iterator[Entry]:
        status = os.stat(path_bytes(self.spec.path))
        for name in self._archive.members:
            if name not in ("images.npy", "labels.npy"):
                ignored["array that is neither images nor labels"] += 1
        labels = self._labels_text
        for row in range(len(self._images)):
            label = None if labels is None else labels[row]
            yield Entry(f"images[{row}]", label, self._images.row_bytes, status.st_mtime_ns)

    def read(self, entry: Entry) -> np.ndarray:
        """(H, W, C) uint8, C = 1 or 3.

        Raises:
            BadItemError: The array's bytes are damaged.
        """
        row = int(entry.key[7:-1])
        pixels = self._images.rows(row, row + 1)[0]
        return pixels if pixels.ndim == 3 else pixels[:, :, None]

    def locate(self, label: str) -> str:
        """The first row with the label."""
        labels = self._labels_text or []
        return f"{self._archive.name}, labels[{labels.index(label)}]" if label in labels else self._archive.name

    def close(self) -> None:
        """Close the file; reading opens it again."""
        self._images.close()

    def _empty_text(self) -> str:
        return f"{self.spec.path}: no images, shape {self._images.shape}"


def _text(value: object) -> str:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)


def _check_numbers(chunk: np.ndarray, start: int, where: str) -> None:
    if chunk.dtype.kind in "US":
        return
    with np.errstate(invalid="ignore"):
        bad = ~(chunk >= 0) if chunk.dtype.kind in "if" else np.zeros(len(chunk), dtype=bool)
    if chunk.dtype.kind in "fb":
        bad |= True
    if bad.any():
        row = int(np.argmax(bad))
        what = "labels are whole numbers from 0, or text"
        raise DataError(f"{where}, row {start + row}: label {chunk[row]} of type {chunk.dtype}; {what}")
