"""Rendered pictures as a source, ``planted:test``, ``planted:causes``, ``planted:marked``."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from whywrong.data.formats import MAX_PIXELS
from whywrong.data.planted import NAMES, Pictures, PictureSet, open_set
from whywrong.data.planted.sets import VERSION
from whywrong.data.sources.base import Entry, Source, SourceSpec

_BLOCK = 96  # pictures rendered at a time: reading is in order, and a batch takes little longer than one picture


class PlantedSource(Source):
    """Set of rendered pictures; the key of row 7 is ``CLASS/0007``, or ``CAUSE/0007`` for a planted mistake.

    Attributes:
        pictures: The set; default the shipped one that the spec names.
    """

    def __init__(self, spec: SourceSpec, pictures: PictureSet | None = None) -> None:
        super().__init__(spec)
        self.pictures = open_set(spec.path) if pictures is None else pictures
        self._block = lru_cache(maxsize=2)(self._draw)

    def _entries(self, ignored: Counter[str]) -> Iterator[Entry]:
        size = 3 * self.pictures.size**2
        for row, (label, cause) in enumerate(zip(self.pictures.label.tolist(), self.pictures.cause, strict=True)):
            group = cause.split(" ")[0] if cause else NAMES[label]
            yield Entry(f"{group}/{row:04d}", NAMES[label], size, VERSION, mask="object", cause=cause or None)

    def read(self, entry: Entry, max_pixels: int = MAX_PIXELS) -> np.ndarray:
        """Read the pixels (S, S, 3) uint8."""
        pictures, at = self._place(entry)
        return pictures.images[at].permute(1, 2, 0).numpy()

    def read_mask(self, entry: Entry) -> bytes:
        """Return the visible pixels of the object as PNG."""
        pictures, at = self._place(entry)
        file = io.BytesIO()
        Image.fromarray(pictures.object[at].byte().mul(255).numpy()).save(file, "PNG")
        return file.getvalue()

    def locate(self, label: str) -> str:
        """Return the set and the class in it."""
        return f"planted:{self.spec.path}, class {label}"

    def close(self) -> None:
        """Drop rendered pictures, which reading renders again."""
        self._block.cache_clear()

    def _place(self, entry: Entry) -> tuple[Pictures, int]:
        block, at = divmod(int(entry.key.rpartition("/")[2]), _BLOCK)
        return self._block(block), at

    def _draw(self, block: int) -> Pictures:
        return self.pictures.draw(torch.arange(block * _BLOCK, min((block + 1) * _BLOCK, len(self.pictures))))

    def _classes_folder(self) -> Path | None:
        return None
