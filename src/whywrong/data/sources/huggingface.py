"""Hugging Face data sets (extra ``hf``), as a saved folder, a folder the library can load, or a name."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from whywrong.core.errors import BadItemError, DataError, EnvironmentFailure
from whywrong.data.files import path_bytes, read_regular, to_text
from whywrong.data.formats import MAX_PIXELS
from whywrong.data.inside import is_remote, leads_out, outside
from whywrong.data.sources.base import Entry, Source, SourceSpec, judge_image
from whywrong.data.sources.label_values import UNLABELLED, label_text
from whywrong.data.sources.rows import image_columns


class HuggingFaceSource(Source):
    """Rows of one split; the key is ``split/row`` and the label the class name."""

    @classmethod
    def from_name(cls, asked: SourceSpec) -> SourceSpec:
        """Return the spec of a local path, otherwise of a published name."""
        return replace(asked, path=os.path.abspath(asked.path)) if os.path.exists(asked.path) else asked

    @classmethod
    def recognise(cls, asked: SourceSpec) -> SourceSpec | None:
        """Recognise a folder of ``save_to_disk``, an Arrow file, or Parquet with images."""
        path = asked.path
        known = _is_saved(path) or (path.lower().endswith(".arrow") and os.path.isfile(path))
        return asked if known or any(map(image_columns, _parquet_files(path))) else None

    def __init__(self, spec: SourceSpec) -> None:
        super().__init__(spec)
        try:
            import datasets
        except ImportError:
            raise EnvironmentFailure('Hugging Face data sets need the extra: pip install "whywrong[hf]"') from None
        self._split, data = self._load(datasets)
        self._folders = _folders(datasets, spec.path)
        features = data.features
        for column in (spec.image, None if spec.label == UNLABELLED else spec.label):
            if column is not None and column not in features:
                raise DataError(f'{spec.path}: no column "{column}"; the columns are {", ".join(features)}')
        self._image = spec.image or _image_column(features, datasets.Image, spec.path)
        self._label = _label_column(features, datasets.ClassLabel, spec, self._image)
        self._names: list[str] | None = getattr(features[self._label], "names", None) if self._label else None
        self._data = data.cast_column(self._image, datasets.Image(decode=False))

    def _load(self, datasets: Any) -> tuple[str, Any]:
        path, split = self.spec.path, self.spec.split
        try:
            with _no_bars(datasets):
                data = datasets.load_from_disk(path) if _is_saved(path) else _load_other(datasets, path)
        except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
            raise DataError(f"{path}: not a Hugging Face data set that can be loaded: {error}") from None
        if not isinstance(data, datasets.DatasetDict):
            return split or str(data.split or "all"), data
        if split is None and len(data) == 1:
            split = next(iter(data))
        if split not in data:
            raise DataError(f"{path}: say which split to read with --split (split=...); it has {', '.join(data)}")
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
        return label_text(value, f"{to_text(self.spec.path)}, {self._split} row {row}")

    def read(self, entry: Entry, max_pixels: int = MAX_PIXELS) -> bytes:
        """Read the bytes of the image file as stored.

        Raises:
            BadItemError: The row holds no image, or its file is missing, too large or outside of the data.
        """
        row = int(entry.key.rpartition("/")[2])
        cell = self._data[row][self._image]
        if cell is None:
            raise BadItemError("the row holds no image")
        if cell.get("bytes") is not None:
            return cell["bytes"]
        path = cell.get("path")
        if not path:
            raise BadItemError("the row holds no image")
        return read_regular(self._inside(path), judge=judge_image(path, max_pixels))

    def _inside(self, path: str) -> bytes:
        """Return the file that a row names; it must be in the data set or where the library unpacks data sets.

        Raises:
            BadItemError: It is elsewhere; the author of the data set may have named any file on this machine.
        """
        for folder in self._folders:
            if not leads_out(folder, path):
                return os.path.join(folder, path_bytes(path))
        if self.spec.follow_links and not is_remote(path):
            return os.path.join(self._folders[0], path_bytes(path))
        raise outside(
            path, "" if is_remote(path) else "; allow it with --follow-links (follow_links=True) if that is meant"
        )

    def locate(self, label: str) -> str:
        """Return the split, whose column holds the label."""
        return f"{to_text(self.spec.path)}, split {self._split}, column {self._label}"

    def _classes_folder(self) -> None:
        return None


@contextmanager
def _no_bars(datasets: Any) -> Iterator[None]:
    """Hide the library's progress bars, since the command shows its own."""
    shown = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        if shown:
            datasets.enable_progress_bars()


def _is_saved(folder: str) -> bool:
    return any(os.path.isfile(os.path.join(path_bytes(folder), name)) for name in (b"dataset_dict.json", b"state.json"))


def _folders(datasets: Any, path: str) -> list[bytes]:
    """Return the folders in which rows may name files."""
    if os.path.isdir(path):
        return [path_bytes(path)]
    if os.path.isfile(path):
        return [path_bytes(os.path.dirname(os.path.abspath(path)))]
    config = datasets.config
    kept = (config.HF_DATASETS_CACHE, getattr(config, "HF_HUB_CACHE", None), config.DOWNLOADED_DATASETS_PATH)
    return [path_bytes(os.path.abspath(folder)) for folder in kept if folder]


def _load_other(datasets: Any, path: str) -> Any:
    """Load a local file or folder, which is never searched online, or a data set by its name."""
    if os.path.isfile(path):
        if path.lower().endswith(".arrow"):
            return datasets.Dataset.from_file(path)
        if path.lower().endswith(".parquet"):
            return datasets.Dataset.from_parquet(path)
        raise DataError(
            f"{path}: hf: takes a folder, a .parquet or .arrow file, or a name; give other files without hf:"
        )
    if not os.path.isdir(path) and (path.startswith((".", "~")) or os.path.isabs(path) or path.count("/") > 1):
        raise DataError(f"{path}: no such file or folder")
    return datasets.load_dataset(path)


def _parquet_files(path: str) -> list[str]:
    """Return a Parquet file itself, or the first one in a folder or its folder ``data``, as data sets are published."""
    if os.path.isfile(path):
        return [path] if path.lower().endswith(".parquet") else []
    for folder in (path, os.path.join(path, "data")):
        files = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
        found = [os.path.join(folder, name) for name in files if name.lower().endswith(".parquet")]
        if found:
            return found[:1]
    return []


def _image_column(features: Any, kind: type, path: str) -> str:
    columns = [name for name, feature in features.items() if isinstance(feature, kind)]
    if not columns:  # written by other libraries: bytes, or bytes and a path
        columns = [name for name, feature in features.items() if _holds_bytes(feature)]
    if len(columns) != 1:
        found = f"it has {', '.join(columns)}" if columns else f"its columns are {', '.join(features)}"
        raise DataError(f"{path}: say which column holds the image with --image-column (image_column=...); {found}")
    return columns[0]


def _holds_bytes(feature: Any) -> bool:
    if isinstance(feature, dict):
        return set(feature) == {"bytes", "path"}
    return getattr(feature, "dtype", None) in ("binary", "large_binary")


def _label_column(features: Any, kind: type, spec: SourceSpec, image: str) -> str | None:
    """Return the label column, which is requested, called ``label``, or the only one of classes; None without labels.

    Raises:
        DataError: Several columns may hold the labels.
    """
    if spec.label is not None:
        return None if spec.label == UNLABELLED and UNLABELLED not in features else spec.label
    if "label" in features:
        return "label"
    others = [name for name in features if name != image]
    columns = [name for name in others if isinstance(features[name], kind)]
    if len(columns) == 1:
        return columns[0]
    if not others:
        return None
    raise DataError(
        f"{spec.path}: say which column holds the label with --label-column (label_column=...), or --label-column "
        f"{UNLABELLED} for images without labels; it has {', '.join(columns or others)[:300]}"
    )
