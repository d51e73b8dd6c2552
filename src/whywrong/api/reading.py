"""Classifiers, images and runs by name or path."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from whywrong.core.errors import InputError

if TYPE_CHECKING:
    from whywrong.data.sources import Source
    from whywrong.models.classifier import Classifier
    from whywrong.runs.folder import RunFolder


def load_classifier(model: str | Path, **options: Any) -> Classifier:
    """As :func:`whywrong.models.loading.zoo.load_classifier`, imported when it is called."""
    from whywrong.models.loading.zoo import load_classifier as load

    return load(model, **options)


def open_data(data: str | Path | Source, **reading: Any) -> Source:
    """Open the data at a path; a source is returned as it is.

    Args:
        data: Folder, manifest, ``.npz`` file or source.
        reading: As for ``open_source``: ``manifest``, ``boxes``, ``label_by``, ``follow_links``, ``split``,
            ``image_column``, ``label_column``.

    Raises:
        DataError: The path is missing, empty or cannot be read.
        InputError: The data is neither a path nor a source, or a source came with options of its reading.
    """
    from whywrong.data.sources import Source, open_source

    if not isinstance(data, Source):
        return open_source(data, **reading)
    given = [name for name, value in reading.items() if value]
    if given:
        raise InputError(f"a source that is open is read as it is; leave out {', '.join(given)}")
    return data


def open_run(path: str | Path) -> RunFolder:
    """An existing run, finished or not.

    Raises:
        RunFolderError: There is no run, or it is damaged.
    """
    from whywrong.runs.folder import RunFolder

    return RunFolder(path)
