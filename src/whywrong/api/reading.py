"""Open classifiers, images and runs by name or path."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from whywrong.data.sources import Source
    from whywrong.models.classifier import Classifier
    from whywrong.runs.folder import RunFolder


def load_classifier(model: Any, **options: Any) -> Classifier:
    """Load a classifier with :func:`whywrong.models.loading.zoo.load_classifier`.

    It is imported only when called.
    """
    from whywrong.models.loading.zoo import load_classifier as load

    return load(model, **options)


def open_data(data: Any, **reading: Any) -> Source:
    """Open the data at a path, or a data set in memory.

    Args:
        data: Folder, manifest, ``.npz`` file; torch ``Dataset`` or ``DataLoader``, Hugging Face ``Dataset``, (x, y)
            arrays; or a source, which is returned unchanged.
        reading: ``label_by``, ``split``, ``image_column``, ``label_column``; for a path also ``manifest``, ``boxes``,
            ``follow_links``; for a data set in memory also ``mean`` and ``std``, the normalisation of its images.

    Raises:
        DataError: The data is missing, empty or cannot be read.
        InputError: The data is none of these, or an option does not apply to it.
    """
    from whywrong.data.objects.opening import open_any

    return open_any(data, **reading)


def open_model(model: Any) -> Classifier:
    """Open a model with :func:`whywrong.doors.pairs.open_model`.

    It is imported only when called.
    """
    from whywrong.doors.pairs import open_model as open_one

    return open_one(model)


def open_pair(model: Any, data: Any, **reading: Any) -> tuple[Classifier, Source]:
    """Open model and data with :func:`whywrong.doors.pairs.open_pair`.

    It is imported only when called.
    """
    from whywrong.doors.pairs import open_pair as open_both

    return open_both(model, data, **reading)


def open_run(path: str | Path) -> RunFolder:
    """Open an existing run, finished or not.

    Raises:
        RunFolderError: There is no run, or it is damaged.

    Example:
        >>> import torch, whywrong as ww
        >>> classifier = ww.load_classifier("planted:cnn")
        >>> images = torch.rand(12, 3, 64, 64), torch.arange(12)
        >>> run = ww.diagnose(classifier, images, "runs/a", methods=["cam"])
        >>> ww.open_run("runs/a").meta["seed"]
        0
    """
    from whywrong.runs.folder import RunFolder

    return RunFolder(path)
