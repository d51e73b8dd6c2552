"""Images in an ``.npz`` with ``images`` uint8 (N, H, W), (N, H, W, 1) or (N, H, W, 3) and ``labels``."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from functools import cached_property

import numpy as np

from whywrong.core.errors import BadItemError, DataError
from whywrong.data.files import path_bytes
from whywrong.data.formats import MAX_PIXELS
from whywrong.data.sources.base import Entry, Source, SourceSpec
from whywrong.data.sources.label_values import label_text, one_hot_classes
from whywrong.data.sources.npy import Archive

_LABEL_CHUNK = 65_536
_CHUNK_BYTES = 2**24  # bytes of labels in memory
_LABEL_BYTES = 2**20  # bytes of one label, whose type may state any length


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
        """Labels as text, in order; each distinct string is stored once."""
        reader = self._archive.array("labels")
        if reader is None:
            return None
        if len(reader.shape) > 2 or reader.dtype.kind not in "iuUSfb":
            raise DataError(
                f"{reader.where}: expected (N,) or (N, 1) whole numbers or text, or (N, K) one-hot, got {reader.dtype} "
                f"{reader.shape}"
            )
        if reader.row_bytes > _LABEL_BYTES:
            raise DataError(f"{reader.where}: labels of {reader.row_bytes} bytes each are no class names")
        if len(reader) != len(self._images):
            raise DataError(f"{self._archive.name}: {len(self._images)} images came with {len(reader)} labels")
        texts: list[str] = []
        shared: dict[object, str] = {}
        try:
            step = max(1, min(_LABEL_CHUNK, _CHUNK_BYTES // max(1, reader.row_bytes)))
            for start in range(0, len(reader), step):
                chunk = _one_column(reader.rows(start, start + step), reader.where)
                for row, value in enumerate(chunk.tolist(), start=start):
                    if value not in shared:
                        shared[value] = label_text(value, f"{reader.where}, row {row}")
                    texts.append(shared[value])
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

    def read(self, entry: Entry, max_pixels: int = MAX_PIXELS) -> np.ndarray:
        """Read the pixels (H, W, C) uint8, C = 1 or 3.

        Raises:
            BadItemError: The array's bytes are damaged, or the images are too large.
        """
        height, width = self._images.shape[1:3]
        if height * width > max_pixels:
            raise BadItemError(f"too many pixels: {width} x {height}, the cap is {max_pixels}")
        row = int(entry.key[7:-1])
        pixels = self._images.rows(row, row + 1)[0]
        return pixels if pixels.ndim == 3 else pixels[:, :, None]

    def locate(self, label: str) -> str:
        """Return the first row with the label."""
        labels = self._labels_text or []
        return f"{self._archive.name}, labels[{labels.index(label)}]" if label in labels else self._archive.name

    def close(self) -> None:
        """Close the file, which reading opens again."""
        self._images.close()

    def _empty_text(self) -> str:
        return f"{self.spec.path}: no images, shape {self._images.shape}"


def _one_column(labels: np.ndarray, where: str) -> np.ndarray:
    """Convert labels (N,), (N, 1) or one-hot (N, K) to (N,)."""
    if labels.ndim == 1:
        return labels
    if labels.shape[1] == 1:
        return labels[:, 0]
    classes = one_hot_classes(labels)
    if classes is None:
        raise DataError(
            f"{where}: labels (N, {labels.shape[1]}) must be one-hot, with one 1 in each row and zeros otherwise; give "
            "one class an image, (N,)"
        )
    return classes
