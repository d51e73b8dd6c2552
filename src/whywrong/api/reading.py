"""Classifiers, images and runs by name or path."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from whywrong.data.sources import Source
    from whywrong.models.classifier import Classifier
    from whywrong.runs.folder import RunFolder


def load_classifier(model: str | Path, **options: Any) -> Classifier:
    """As :func:`whywrong.models.zoo.load_classifier`, imported when it is called."""
    from whywrong.models.zoo import load_classifier as load

    return load(model, **options)


def open_data(data: str | Path | Source, **reading: Any) -> Source:
    """The source behind a path; a source is returned as it is.

    Args:
        data: Folder, manifest, ``.npz`` file or source.
        reading: As for ``open_source``: ``manifest``, ``boxes``, ``label_by``, ``follow_links``, ``split``,
            ``image_column``, ``label_column``.

    Raises:
        DataError: The path is missing, empty or cannot be read.
    """
    from whywrong.data.sources import open_source

    return open_source(data, **reading) if isinstance(data, (str, Path)) else data


def open_run(path: str | Path) -> RunFolder:
    """An existing run, finished or not.

    Raises:
        RunFolderError: There is no run, or it is damaged.
    """
    from whywrong.runs.folder import RunFolder

    return RunFolder(path)
