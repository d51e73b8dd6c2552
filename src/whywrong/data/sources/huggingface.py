"""Hugging Face data sets (extra ``hf``): a saved folder, a folder the library can load, or a name."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

from whywrong.core.errors import BadItemError, DataError, EnvironmentFailure
from whywrong.data.files import path_bytes, read_regular, to_text
from whywrong.data.sources.base import Entry, Source, SourceSpec


class HuggingFaceSource(Source):
    """Rows of one split; the key is ``split/row``, the label the name of the class."""

    def __init__(self, spec: SourceSpec) -> None:
        super().__init__(spec)
        try:
            import datasets
        except ImportError:
            raise EnvironmentFailure('Hugging Face data sets need the extra: pip install "whywrong[hf]"') from None
        self._split, data = self._load(datasets)
        features = data.features
        self._image = spec.image or _only(features, datasets.Image, "image", spec.path)
        self._label = spec.label or _label_column(features, datasets.ClassLabel)
        for column in (self._image, self._label):
            if column is not None and column not in features:
                raise DataError(f'{spec.path}: no column "{column}"; the columns are {", ".join(features)}')
        self._names: list[str] | None = getattr(features[self._label], "names", None) if self._label else None
        self._data = data.cast_column(self._image, datasets.Image(decode=False))

    def _load(self, datasets: Any) -> tuple[str, Any]:
        path, split = self.spec.path, self.spec.split
        try:
            saved = os.path.isfile(os.path.join(path, "dataset_dict.json")) or os.path.isfile(
                os.path.join(path, "state.json")
            )
            data = datasets.load_from_disk(path) if saved else datasets.load_dataset(path)
        except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
            raise DataError(f"{path}: not a Hugging Face data set that can be loaded: {error}") from None
        if not isinstance(data, datasets.DatasetDict):
            return split or str(data.split or "all"), data
        if split is None and len(data) == 1:
            split = next(iter(data))
        if split not in data:
            raise DataError(f"{path}: say which split to read; it has {', '.join(data)}")
        return str(split), data[split]

    def _after_scan(self) -> None:
        self._labels = dict.fromkeys(self._names or (), 0) | self._labels  # classes without images are classes too

    def _entries(self, ignored: Counter[str]) -> Iterator[Entry]:
        labels = self._data.select_columns([self._label]) if self._label else None
        for row in range(len(self._data)):
            label = None if labels is None or self._label is None else self._text(labels[row][self._label], row)
            yield Entry(f"{self._split}/{row}", label, 0, 0)

    def _text(self, value: Any, row: int) -> str | None:
        if value is None or (self._names is not None and value == -1):
            return None  # the library's own mark for "no label"
        if self._names is not None:
            return self._names[value]
        if isinstance(value, float) or (isinstance(value, int) and value < 0):
            raise DataError(f"{self._split} row {row}: label {value} is not a class; labels are whole numbers or text")
        return str(value)

    def read(self, entry: Entry) -> bytes:
        """Bytes of the image file as stored.

        Raises:
            BadItemError: The row holds no image, or its file is missing.
        """
        row = int(entry.key.rpartition("/")[2])
        cell = self._data[row][self._image]
        if cell is None:
            raise BadItemError("the row holds no image")
        if cell.get("bytes") is not None:
            return cell["bytes"]
        return read_regular(path_bytes(cell["path"]))

    def locate(self, label: str) -> str:
        """The split; its column holds the label."""
        return f"{to_text(self.spec.path)}, split {self._split}, column {self._label}"

    def _classes_folder(self) -> None:
        return None


def _only(features: Any, kind: type, what: str, path: str) -> str:
    columns = [name for name, feature in features.items() if isinstance(feature, kind)]
    if len(columns) != 1:
        found = f"it has {', '.join(columns)}" if columns else f"its columns are {', '.join(features)}"
        raise DataError(f"{path}: say which column holds the {what}; {found}")
    return columns[0]


def _label_column(features: Any, kind: type) -> str | None:
    columns = [name for name, feature in features.items() if isinstance(feature, kind)]
    if len(columns) == 1:
        return columns[0]
    return "label" if "label" in features else None
